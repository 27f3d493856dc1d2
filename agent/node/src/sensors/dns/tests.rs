use std::net::{TcpListener, UdpSocket};

use super::super::testing::{FixtureHost, list, local, make, show, sweep, usage, value};
use super::*;
use skynet_model::value::Value;

/// What the server of a test makes of a question: the answers it sends over UDP, and the one over TCP.
type Answers = fn(&[u8]) -> (Vec<Vec<u8>>, Vec<u8>);

/// A name server on loopback, UDP and TCP on one port.
fn server(answers: Answers) -> String {
    let (udp, tcp) = (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            TcpListener::bind(udp.local_addr().unwrap()).ok().map(|tcp| (udp, tcp))
        })
        .unwrap();
    let address = udp.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((n, from)) = udp.recv_from(&mut question) {
            for answer in answers(&question[..n]).0 {
                udp.send_to(&answer, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let (mut stream, mut question) = (stream.unwrap(), [0; 514]);
            let n = stream.read(&mut question).unwrap();
            let _ = stream.write_all(&answers(&question[2..n]).1);
        }
    });
    address.to_string()
}

/// The answer to `question` with these flags and addresses.
fn answer(question: &[u8], flags: u16, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    answer[7] = u8::try_from(addresses.len()).unwrap();
    for address in addresses {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(address);
    }
    answer
}

fn framed(answer: Vec<u8>) -> Vec<u8> {
    [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat()
}

fn look(server: &str, more: &[(&str, Value)]) -> Sample {
    let word = |text: &str| Value::Text(text.to_owned());
    let mut params =
        vec![("query", word("shop.example")), ("server", word(server)), ("timeout", Value::Duration(Span(3000)))];
    params.extend(more.iter().cloned());
    let sample = local(&mut *super::super::build(&usage("dns", Some("shop"), &params), &BTreeMap::new()));
    show(&sample);
    sample
}

fn of(sample: &Sample, series: &str) -> Option<f64> {
    value(sample, &format!("dns.{series}{{name=\"shop\"}}"))
}

const ONE: [u8; 4] = [192, 0, 2, 1];
const TWO: [u8; 4] = [192, 0, 2, 2];

#[test]
fn an_answer_is_counted_timed_and_compared() {
    let server = server(|q| (vec![answer(q, 0, &[ONE, TWO])], Vec::new()));
    let sample = look(&server, &[]);
    assert_eq!((of(&sample, "up"), of(&sample, "answers"), of(&sample, "rcode")), (Some(1.0), Some(2.0), Some(0.0)));
    assert_eq!(of(&sample, "matched"), None);
    assert!(of(&sample, "response_s").unwrap() > 0.0);
    for (expect, matched) in [(&["192.0.2.1", "192.0.2.2", "192.0.2.3"][..], 1.0), (&["192.0.2.1"], 0.0)] {
        let sample = look(&server, &[("expect", list(expect))]);
        assert_eq!((of(&sample, "matched"), of(&sample, "up")), (Some(matched), Some(matched)), "{expect:?}");
    }
}

#[test]
fn answers_of_others_and_garbage_are_passed_over() {
    let server = server(|q| {
        let (mut other_id, mut other_name, mut no_answer) = (q.to_vec(), q.to_vec(), answer(q, 0, &[TWO]));
        other_id[0] ^= 1;
        other_name[13] ^= 1;
        no_answer[2] &= 0x7f;
        let forged = [answer(&other_id, 0, &[TWO]), answer(&other_name, 0, &[TWO]), no_answer];
        (forged.into_iter().chain([vec![], vec![7; 300], answer(q, 0, &[ONE])]).collect(), Vec::new())
    });
    let sample = look(&server, &[("expect", list(&["192.0.2.1"]))]);
    assert_eq!((of(&sample, "up"), of(&sample, "matched")), (Some(1.0), Some(1.0)));
}

#[test]
fn errors_have_their_code_and_silence_has_nothing() {
    let nxdomain = server(|q| (vec![answer(q, 3, &[])], Vec::new()));
    let sample = look(&nxdomain, &[("expect", list(&["192.0.2.1"]))]);
    assert_eq!((of(&sample, "up"), of(&sample, "rcode"), of(&sample, "answers")), (Some(0.0), Some(3.0), Some(0.0)));
    assert_eq!(of(&sample, "matched"), Some(0.0));
    let silent = server(|q| (vec![q.to_vec()], Vec::new()));
    let sample = look(&silent, &[("timeout", Value::Duration(Span(100)))]);
    assert_eq!((of(&sample, "up"), sample.len()), (Some(0.0), 1));
    let broken = server(|q| {
        let mut cut = answer(q, 0, &[ONE]);
        cut.truncate(cut.len() - 2);
        (vec![cut], Vec::new())
    });
    assert_eq!(look(&broken, &[]).len(), 1);
}

#[test]
fn what_is_cut_off_is_asked_for_over_tcp() {
    let whole = server(|q| (vec![answer(q, 0x0200, &[])], framed(answer(q, 0, &[ONE; 200]))));
    let sample = look(&whole, &[]);
    assert_eq!((of(&sample, "up"), of(&sample, "answers")), (Some(1.0), Some(200.0)));
    let hangs_up = server(|q| (vec![answer(q, 0x0200, &[])], vec![0]));
    assert_eq!(look(&hangs_up, &[]).len(), 1);
    let lies = server(|q| (vec![answer(q, 0x0200, &[])], framed(vec![9; 40])));
    assert_eq!(look(&lies, &[]).len(), 1);
}

#[test]
fn without_a_server_that_of_the_machine_is_asked() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let host = Arc::new(FixtureHost::at(root.path().to_owned()));
    let usage = [("query", Value::Text("shop.example".into())), ("timeout", Value::Duration(Span(100)))];
    for (text, asked) in
        [("# none\nsearch example\n", None), ("nameserver 127.1.2.3\nnameserver ::1\n", Some("127.1.2.3:53"))]
    {
        std::fs::write(root.path().join("etc/resolv.conf"), text).unwrap();
        let mut dns = Dns {
            name: String::new(),
            query: "shop.example".into(),
            kind: Kind::of("A"),
            server: None,
            expect: Vec::new(),
            timeout: Span(100),
            keys: ["a", "b", "c", "d", "e"].map(super::super::plain),
            random: RandomState::new(),
            troubles: Troubles::default(),
            buf: Vec::new(),
        };
        let host: Arc<dyn Host> = Arc::<FixtureHost>::clone(&host);
        let server = dns.server(&host, &Deadline::new(&host, Span(100)));
        assert_eq!(server.ok().map(|s| s.to_string()).as_deref(), asked);
    }
    assert_eq!(sweep(&mut *make("dns", &usage), &host).len(), 1);
}
