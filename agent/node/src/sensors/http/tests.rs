use std::io::{Read, Write};
use std::net::TcpListener;

use super::super::testing::{list, local, show, usage, value};
use super::*;
use crate::host::local::boot_ms;
use crate::probe::tls::testing::{ca, server};

/// A server on loopback that gives each request's head to `answer`; several at once.
fn serve(answer: impl Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    head.push(byte[0]);
                }
                // The client may have had enough.
                let _ = answer(&String::from_utf8(head).unwrap(), &mut stream);
            });
        }
    });
    format!("http://{address}")
}

/// A server that always says the same.
fn always(text: &'static str) -> String {
    serve(move |_, out| out.write_all(text.as_bytes()))
}

fn word(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn look(url: &str, more: &[(&str, Value)]) -> Sample {
    let mut params = vec![("url", word(url)), ("timeout", Value::Duration(Span(3000)))];
    params.extend(more.iter().cloned());
    let usage = usage("http", Some("shop"), &params);
    let sample = local(&mut *super::super::build(&usage, &BTreeMap::new()));
    show(&sample);
    sample
}

fn of(sample: &Sample, series: &str) -> Option<f64> {
    value(sample, &format!("http.{series}{{name=\"shop\"}}"))
}

#[test]
fn a_service_that_answers_well_is_up_with_status_and_time() {
    let url = serve(|head, out| {
        assert!(head.starts_with("GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
        out.write_all(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall green",
        )
    });
    let sample = look(&format!("{url}/health?deep=1#now"), &[("contains", word("green"))]);
    assert_eq!((of(&sample, "up"), of(&sample, "status"), of(&sample, "matched")), (Some(1.0), Some(200.0), Some(1.0)));
    let took = of(&sample, "response_s").unwrap();
    assert!(took > 0.0 && took < 3.0, "{took}");
    let sample = look(&format!("{url}/health?deep=1"), &[("contains", word("red"))]);
    assert_eq!((of(&sample, "up"), of(&sample, "matched")), (Some(0.0), Some(0.0)));
}

#[test]
fn the_status_decides_and_may_be_another() {
    let url = always("HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n");
    let sample = look(&url, &[]);
    assert_eq!((of(&sample, "up"), of(&sample, "status")), (Some(0.0), Some(503.0)));
    let sample = look(&url, &[("status", Value::List(vec![Value::Int(200), Value::Int(503)]))]);
    assert_eq!(of(&sample, "up"), Some(1.0));
    assert_eq!(of(&look(&always("HTTP/1.0 200\r\n\r\n"), &[("status", list(&[]))]), "up"), Some(1.0));
}

#[test]
fn bodies_end_as_they_say_and_what_is_cut_off_is_down() {
    for (text, up, matched) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nall \r\n5\r\ngreen\r\n0\r\nT: x\r\n\r\n",
            1.0,
            1.0,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nall green", 1.0, 1.0),
        ("HTTP/1.1 200 OK\nContent-Length: 9\n\nall green and more", 1.0, 1.0),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nall green", 0.0, 1.0),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall green\r\n", 0.0, 1.0),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nall green", 0.0, 0.0),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nall green", 0.0, 0.0),
    ] {
        let sample = look(&always(text), &[("contains", word("all green"))]);
        assert_eq!((of(&sample, "up"), of(&sample, "matched")), (Some(up), Some(matched)), "{text}");
    }
    let head = look(&always("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), &[("method", word("HEAD"))]);
    assert_eq!(of(&head, "up"), Some(1.0), "HEAD has no body");
}

#[test]
fn what_is_no_answer_has_no_status() {
    let flood = serve(|_, out| {
        loop {
            out.write_all(b"X-Filler: and so on for ever and ever\r\n")?;
        }
    });
    let headers = serve(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            out.write_all(b"X-Filler: and so on for ever and ever\r\n")?;
        }
    });
    let interim = serve(|_, out| {
        loop {
            out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [
        flood,
        headers,
        interim,
        always("SSH-2.0-OpenSSH_9.2\r\n"),
        always(""),
        always("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
        format!("http://{closed}/"),
    ] {
        let sample = look(&url, &[]);
        assert_eq!((of(&sample, "up"), sample.len()), (Some(0.0), 1), "{url}");
    }
}

#[test]
fn endless_and_slow_bodies_are_bounded_in_size_and_time() {
    let endless = serve(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            out.write_all(&[b'x'; 4096])?;
        }
    });
    let sample = look(&endless, &[("contains", word("y"))]);
    assert_eq!((of(&sample, "up"), of(&sample, "matched")), (Some(0.0), Some(0.0)));
    assert_eq!(of(&look(&endless, &[]), "up"), Some(1.0), "a long body is no fault");
    let slow = serve(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
        loop {
            out.write_all(b"x")?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let began = boot_ms();
    let sample = look(&slow, &[("timeout", Value::Duration(Span(300)))]);
    assert_eq!((of(&sample, "up"), of(&sample, "status")), (Some(0.0), Some(200.0)));
    assert!(boot_ms() - began < 5000);
}

#[test]
fn redirects_are_followed_only_when_asked_and_only_so_far() {
    let url = serve(|head, out| {
        let to = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let text = match head.split(' ').nth(1).unwrap() {
            "/a/one" => to("two?x"),
            "/a/two?x" => to("/three"),
            "/three" => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere".to_owned(),
            "/nowhere" => to("gopher://x/"),
            _ => to("/loop"),
        };
        out.write_all(text.as_bytes())
    });
    let (one, follow) = (format!("{url}/a/one"), |n| [("redirects", Value::Int(n)), ("contains", word("here"))]);
    for (url, n, status, up) in [
        (&one, 0, Some(302.0), 0.0),
        (&one, 1, Some(302.0), 0.0),
        (&one, 2, Some(200.0), 1.0),
        (&format!("{url}/loop"), 10, Some(302.0), 0.0),
        (&format!("{url}/nowhere"), 10, None, 0.0),
    ] {
        let sample = look(url, &follow(n));
        assert_eq!((of(&sample, "status"), of(&sample, "up")), (status, Some(up)), "{url} {n}");
    }
}

#[test]
fn https_is_believed_only_with_a_valid_certificate_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let issuer = ca(&file);
    let answer = |mut stream: rustls::StreamOwned<_, _>| {
        let mut head = [0; 4096];
        if stream.read(&mut head).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello");
            // Hangs up without a close_notify, as many do.
            let _ = stream.flush();
        }
    };
    let good = format!("https://localhost:{}", server(&issuer, "localhost", 2090, answer).port());
    let expired = format!("https://localhost:{}", server(&issuer, "localhost", 2021, answer).port());
    let wrong = format!("https://localhost:{}", server(&issuer, "shop.example", 2090, answer).port());
    let trusted = ("ca_file", word(file.to_str().unwrap()));
    for (url, more, up) in [
        (&good, vec![trusted.clone()], 1.0),
        (&good, vec![], 0.0),
        (&expired, vec![trusted.clone()], 0.0),
        (&wrong, vec![trusted], 0.0),
        (&wrong, vec![("verify", Value::Bool(false))], 1.0),
    ] {
        assert_eq!(of(&look(url, &more), "up"), Some(up), "{url} {more:?}");
    }
}
