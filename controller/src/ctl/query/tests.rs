use super::*;

fn args(since: &str, until: Option<&str>, step: Option<&str>, output: QueryOutput) -> QueryArgs {
    QueryArgs {
        series: "load.one".to_owned(),
        servers: vec!["web1".to_owned()],
        all: false,
        since: since.to_owned(),
        until: until.map(str::to_owned),
        step: step.map(str::to_owned),
        output,
    }
}

const NOW: Timestamp = Timestamp(1_793_502_855_926);

#[test]
fn times_are_how_long_ago_or_when_and_steps_fit_the_screen() {
    let asked = request(&args("6h", None, None, QueryOutput::Table), NOW).unwrap();
    assert_eq!((asked.from_ms, asked.until_ms, asked.step_ms), (NOW.0 - 6 * 3_600_000, NOW.0, 900_000));
    let asked = request(&args("2026-11-01T00:00:00Z", Some("2h"), Some("5m"), QueryOutput::Json), NOW).unwrap();
    assert_eq!((asked.from_ms, asked.until_ms, asked.step_ms), (1_793_491_200_000, NOW.0 - 7_200_000, 300_000));
    assert_eq!(request(&args("6h", None, None, QueryOutput::Json), NOW).unwrap().step_ms, 0);
    assert_eq!(request(&args("1h", None, Some("0s"), QueryOutput::Table), NOW).unwrap().step_ms, 0);
    let all = QueryArgs { all: true, servers: vec![], ..args("1h", None, None, QueryOutput::Sparkline) };
    assert_eq!(request(&all, NOW).unwrap().servers, ["*"]);
    for (bad, word) in [
        (args("yesterday", None, None, QueryOutput::Table), "--since"),
        (args("1h", Some("x"), None, QueryOutput::Table), "--until"),
        (args("1h", Some("2h"), None, QueryOutput::Table), "later"),
        (args("1h", None, Some("often"), QueryOutput::Table), "--step"),
    ] {
        let error = request(&bad, NOW).unwrap_err();
        assert!(matches!(&error, Failure::Usage(text) if text.contains(word)), "{error}");
    }
    for days in [1, 30, 400, 100_000] {
        let time = Span::hours(24 * days);
        assert!(time.0 / fitting(time).0 <= LINES, "{days}");
    }
}

fn answer() -> Vec<v1::PastSeries> {
    let (series, server) = ("disk.used_ratio{mount=\"/\u{1b}[31m\"}".to_owned(), "web1".to_owned());
    let (time_ms, avg) = (vec![1_793_502_000_000, 300_000], vec![0.5, 0.25]);
    let steps = v1::PastSeries {
        series: series.clone(),
        server: server.clone(),
        time_ms: time_ms.clone(),
        avg: avg.clone(),
        min: vec![0.4, 0.25],
        max: vec![0.6, 0.25],
        count: vec![30, 1],
    };
    vec![steps, v1::PastSeries { series, server, time_ms, avg, ..v1::PastSeries::default() }]
}

#[test]
fn tables_show_steps_or_samples_and_nothing_foreign_reaches_the_terminal() {
    let answer = answer();
    let past: Vec<Past<'_>> = answer.iter().map(unpack).collect();
    let catalogue = crate::fleet::catalogue::catalogue();
    assert_eq!(
        table(&past, catalogue).render(false),
        "\
web1  disk.used_ratio{mount=\"/\\u{1b}[31m\"}
TIME                  MIN     AVG     MAX     SAMPLES
2026-11-01T03:00:00Z  40.0 %  50.0 %  60.0 %  30
2026-11-01T03:05:00Z  25.0 %  25.0 %  25.0 %  1

web1  disk.used_ratio{mount=\"/\\u{1b}[31m\"}
TIME                  VALUE
2026-11-01T03:00:00Z  50.0 %
2026-11-01T03:05:00Z  25.0 %
"
    );
    let lines = sparklines(&past, catalogue).render(false);
    assert!(lines.contains("█▁") && lines.contains("25.0 %  60.0 %  25.0 %"), "{lines}");
    assert_eq!(documents(&past).unwrap()[1].matches("\"count\":1").count(), 2);
}
