use std::net::UdpSocket;
use std::path::Path;

use super::super::testing::{show, usage, value};
use super::*;
use crate::host::LocalHost;
use skynet_model::value::Value;

/// NTP's form of milliseconds since 1970.
fn stamp(ms: i64) -> [u8; 8] {
    let seconds = u32::try_from((ms / 1000 + 2_208_988_800) % (1 << 32)).unwrap();
    let part = u32::try_from(((ms % 1000) << 32) / 1000).unwrap();
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(&part.to_be_bytes());
    bytes
}

/// What a server that is `ms` ahead of us says.
fn answer(question: &[u8], ms: i64) -> Vec<u8> {
    let mut answer = vec![0; 48];
    (answer[0], answer[1]) = (0x24, 2);
    answer[24..32].copy_from_slice(&question[40..48]);
    let now = LocalHost::new().now().0 + ms;
    answer[32..40].copy_from_slice(&stamp(now));
    answer[40..48].copy_from_slice(&stamp(now));
    answer
}

/// A time server on loopback.
fn server(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut question) {
            for answer in answers(&question[..n]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    address
}

fn look(server: Option<&str>) -> Result<Sample, String> {
    let mut params = vec![("timeout", Value::Duration(Span(500)))];
    params.extend(server.map(|server| ("server", Value::Text(server.to_owned()))));
    let mut sensor = super::super::build(&usage("time", None, &params), &BTreeMap::new());
    let mut out = Vec::new();
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    sensor.sweep(&host, &mut out).map_err(|e| e.to_string())?;
    show(&out);
    Ok(out)
}

#[test]
fn the_clock_is_compared_with_the_servers() {
    for (ahead, synchronised) in [(0, 1.0), (-250, 1.0), (90_000, 0.0)] {
        let address = server(move |question| vec![answer(question, -ahead)]);
        let sample = look(Some(&address)).unwrap();
        let offset = value(&sample, "time.offset_s").unwrap();
        assert!((offset - seconds(Span(ahead))).abs() < 0.1, "{ahead} {offset}");
        assert_eq!(value(&sample, "time.synchronised"), Some(synchronised), "{ahead}");
    }
    let alarmed = server(|question| {
        let mut answer = answer(question, 0);
        answer[0] |= 0xc0;
        vec![answer]
    });
    assert_eq!(value(&look(Some(&alarmed)).unwrap(), "time.synchronised"), Some(0.0));
}

#[test]
fn answers_to_other_questions_are_passed_over() {
    let address = server(|question| {
        let (mut other, mut client) = (answer(question, 3_600_000), answer(question, 3_600_000));
        other[24] ^= 1;
        client[0] = 0x23;
        vec![other, client, vec![0x24; 47], vec![], answer(question, 0)]
    });
    let offset = value(&look(Some(&address)).unwrap(), "time.offset_s").unwrap();
    assert!(offset.abs() < 0.1, "{offset}");
}

#[test]
fn silence_refusal_and_emptiness_fail_the_sweep_in_words() {
    let silent = server(|_| vec![]);
    assert!(look(Some(&silent)).unwrap_err().contains("took longer than"));
    let refusing = server(|question| {
        let mut answer = answer(question, 0);
        answer[1] = 0;
        answer[12..16].copy_from_slice(b"RATE");
        vec![answer]
    });
    assert!(look(Some(&refusing)).unwrap_err().contains("RATE"));
    let empty = server(|question| {
        let mut answer = answer(question, 0);
        answer[32..48].fill(0);
        vec![answer]
    });
    assert!(look(Some(&empty)).unwrap_err().contains("holds no time"));
}

#[test]
fn times_are_read_across_the_end_of_ntps_era() {
    // 7 February 2036, 06:28:16 UTC.
    let turn = 2_085_978_496_000;
    for ms in [turn - 1500, turn + 1, turn + 1500] {
        let question = sntp::question(7);
        let mut bytes = answer(&question, 0);
        bytes[32..40].copy_from_slice(&stamp(ms));
        bytes[40..48].copy_from_slice(&stamp(ms + 100));
        let read = sntp::read(&bytes, turn).unwrap();
        let ahead = read.ahead_ms(ms, ms + 100);
        assert!(ahead.abs() <= 1, "{ms} {ahead}");
    }
}

#[test]
fn chrony_says_how_far_the_clock_is_behind_and_whether_it_keeps_it() {
    // Printed by chrony 4.3: before its source answered, and with one 250 ms ahead of the clock.
    let before = "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,\
                  Not synchronised\n";
    assert_eq!(tracking(before), Some(Clock { ahead_s: None, synchronised: false }));
    let kept = "7F000001,127.0.0.1,2,1795552914.734831577,0.250051945,0.000004591,0.000004591,-1.845,0.001,19.774,\
                0.000118109,0.000142419,2.0,Normal\n";
    assert_eq!(tracking(kept), Some(Clock { ahead_s: Some(-0.250_051_945), synchronised: true }));
    assert_eq!(tracking("506 Cannot talk to daemon"), None);
    assert_eq!(tracking(""), None);
}

#[test]
fn a_server_without_chrony_is_told_what_to_do() {
    if ["/usr/bin/chronyc", "/usr/sbin/chronyc"].iter().any(|path| Path::new(path).exists()) {
        // With chrony there, either it answers or it says that its daemon does not run.
        assert!(look(None).map_or_else(|words| words.contains("chronyd"), |sample| !sample.is_empty()));
    } else {
        assert!(look(None).unwrap_err().contains("install chrony, or name a `server:`"));
    }
}
