// An application that uses go-redis, in the version that Debian packages.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// docs/clients.md: begin
import "gopkg.in/redis.v5"

func connect(sentinels []string, name string) *redis.Client {
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    name,
		SentinelAddrs: sentinels,
		// A Sentinel and the primary are given the same time: longer than a Sentinel port here takes to say that there is no primary.
		DialTimeout:  400 * time.Millisecond,
		ReadTimeout:  400 * time.Millisecond,
		WriteTimeout: 400 * time.Millisecond,
		// A node that refuses a write closes the connection, and what comes next would fail on that.
		MaxRetries: 2,
	})
}

// docs/clients.md: end

func say(what string, more interface{}) {
	var now syscall.Timespec
	const monotonic = 1
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&now)), 0)
	fmt.Println(what, now.Nano(), strings.ReplaceAll(fmt.Sprint(more), "\n", " "))
}

func main() {
	way, work, name, addresses := os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	var client *redis.Client
	if way == "sentinel" {
		client = connect(addresses, name)
	} else {
		client = redis.NewClient(&redis.Options{Addr: addresses[0], DialTimeout: 400 * time.Millisecond,
			ReadTimeout: 400 * time.Millisecond, WriteTimeout: 400 * time.Millisecond})
	}
	if work == "subscribe" {
		listen(client)
	}
	for number := 1; ; number++ {
		key := fmt.Sprintf("app:%d", number%1000)
		var err error
		done := true
		switch work {
		case "write":
			err = client.Set(key, number, 0).Err()
		case "transaction":
			_, err = client.TxPipelined(func(pipe *redis.Pipeline) error {
				pipe.Set(key, number, 0)
				pipe.Incr("count")
				return nil
			})
		case "script":
			err = client.Eval("return redis.call('SET', KEYS[1], ARGV[1])", []string{key}, number).Err()
		default:
			err = client.BLPop(time.Second, "queue").Err()
			if err == redis.Nil {
				done, err = false, nil
			}
		}
		if err != nil {
			say("error", err)
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if done {
			say("ack", "")
		}
		if work != "block" {
			time.Sleep(time.Millisecond)
		}
	}
}

func listen(client *redis.Client) {
	for {
		listener, err := client.Subscribe("news")
		for err == nil {
			var message interface{}
			message, err = listener.ReceiveTimeout(300 * time.Millisecond)
			if _, heard := message.(*redis.Message); heard {
				say("ack", "")
			}
		}
		say("error", err)
		if listener != nil {
			listener.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
}
