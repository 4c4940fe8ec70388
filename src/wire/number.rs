//! Reads numbers: one spelling, and a highest value (W4).

use super::error::NumberFault;

/// A plain decimal number: digits only, no leading zero, at most `max`.
#[inline(always)]
pub(super) fn parse(digits: &[u8], max: u64) -> Result<u64, NumberFault> {
    match digits {
        [] => return Err(NumberFault::Empty),
        [b'0', _, ..] => return Err(NumberFault::LeadingZero),
        _ => {}
    }
    // 19 digits cannot overflow.
    if digits.len() > 19 {
        return parse_long(digits, max);
    }
    let mut value = 0_u64;
    for digit in digits {
        let units = digit.wrapping_sub(b'0');
        if units > 9 {
            return Err(NumberFault::NotADigit { found: *digit });
        }
        value = value * 10 + u64::from(units);
    }
    if value > max {
        return Err(NumberFault::OutOfRange { max });
    }
    Ok(value)
}

#[cold]
fn parse_long(digits: &[u8], max: u64) -> Result<u64, NumberFault> {
    if let Some(found) = digits.iter().copied().find(|digit| !digit.is_ascii_digit()) {
        return Err(NumberFault::NotADigit { found });
    }
    let value = digits
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    value.filter(|value| *value <= max).ok_or(NumberFault::OutOfRange { max })
}
