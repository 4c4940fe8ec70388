//! Pictures in SVG: rectangles, lines, points and words.

use std::fmt::{Display, Write};

/// A picture that grows.
pub struct Picture(String);

impl Picture {
    /// An empty one; `size` is that of its letters.
    pub fn new(width: f64, height: f64, size: u32) -> Self {
        let mut picture = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" \
             font-size=\"{size}\">\n"
        ));
        picture.rect((0.0, 0.0), (width, height), "fill=\"#fff\"");
        picture
    }

    /// A rectangle at `at`; `style` are attributes.
    pub fn rect(&mut self, at: (f64, f64), size: (f64, f64), style: &str) {
        let ((x, y), (width, height)) = (at, size);
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {style}/>"
        ));
    }

    /// A line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        ));
    }

    /// A point.
    pub fn point(&mut self, at: (f64, f64), radius: u32, style: &str) {
        let (x, y) = at;
        self.put(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" {style}/>"));
    }

    /// A line through points.
    pub fn curve(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: &str) {
        let points: Vec<_> = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.put(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
    }

    /// Words that begin at `at`; `style` are attributes.
    pub fn text(&mut self, at: (f64, f64), style: &str, words: impl Display) {
        let (x, y) = at;
        let words = words.to_string().replace('&', "&amp;").replace('<', "&lt;");
        self.put(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>"));
    }

    /// The file.
    pub fn finish(self) -> String {
        self.0 + "</svg>\n"
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{element}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_words() {
        let mut picture = Picture::new(10.0, 20.0, 9);
        picture.text((1.0, 2.0), "", "a < b & c");
        let text = picture.finish();
        assert!(text.contains(">a &lt; b &amp; c</text>") && text.ends_with("</svg>\n"), "{text}");
    }
}
