//! Where a run is, what it will cost, and which runs there were.

use super::shell::{Shell, named};
use serde_json::Value;

/// A pipeline of programs that take their time.
fn slow(jobs: usize, seconds: f64) -> Shell {
    let names = (0..jobs).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
    let manifest = format!(
        "version: 1
name: slow
stages:
  nap:
    matrix: {{at: [{names}]}}
    kind: command
    run: [sh, -c, 'sleep {seconds}; echo $0 > $SPOT_OUT/out.txt', \"${{at}}\"]
    outputs: [out.txt]
"
    );
    Shell::new().write("pipelines/slow.yaml", manifest)
}

#[test]
fn runs_are_listed_the_newest_first() {
    let shell = Shell::finished();
    shell.spot("run smoke --set vars.length=3 --only backbone").ok();
    let log = shell.spot("log smoke").ok();
    let lines: Vec<&str> = log.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", log.out);
    assert!(
        lines[0].contains("0 executed, 1 cached, ")
            && lines[0].ends_with("spot run smoke --set vars.length=3 --only backbone")
    );
    assert!(lines[1].ends_with("spot run smoke"), "{}", lines[1]);
    let json = shell.spot("log --number 1 --format json").ok().json();
    assert_eq!((json["runs"].as_array().unwrap().len(), &json["older"]), (1, &1.into()));
    // The name is one that `diff` takes.
    let run = lines[0].split_whitespace().next().unwrap();
    shell.spot(&format!("diff last~1 {run}")).ok();
    shell.spot("log nothing").exits_with(2).complains("no manifest `nothing`");
    Shell::new().spot("log").ok().complains("no runs in `");
}

#[test]
fn the_newest_report_is_printed_whatever_made_it_and_says_so() {
    let shell = Shell::finished();
    let first = shell.spot("report smoke --format text").ok();
    first.complains("the report of run ").complains(": spot run smoke");
    shell.spot("run smoke --set vars.length=3").ok().complains("`spot report smoke --format html");
    let second = shell.spot("report smoke --format text").ok();
    second.complains("spot run smoke --set vars.length=3");
    assert_ne!(first.out, second.out);
    // Whoever says how the manifest is read means that.
    assert_eq!(shell.spot("report smoke --format text --set vars.length=2").ok().out, first.out);
    shell.spot("report smoke --format html").ok().prints("<html").complains("--set vars.length=3");
}

#[test]
fn a_long_run_says_how_far_it_is() {
    let shell = slow(6, 0.8);
    let run = shell.spot("run slow --jobs 1 --progress 1").ok();
    run.complains("progress: 1 of 6 jobs done, 1 running (`nap[").complains("left");
    // Programs get the same as an event.
    shell.edit("pipelines/slow.yaml", "sleep 0.8", "sleep 0.7");
    let events = shell.spot("run slow --jobs 1 --progress 1 --format json").ok().lines();
    let progress: Vec<&Value> = events.iter().filter(|event| event["event"] == "progress").collect();
    assert!(progress.len() >= 2, "{events:?}");
    let last = progress.last().unwrap();
    assert_eq!(last["jobs"], 6);
    let left = last["seconds_left"].as_f64().unwrap();
    assert!((0.0..5.0).contains(&left), "{left}");
    shell.edit("pipelines/slow.yaml", "sleep 0.7", "sleep 0.6");
    assert!(!shell.spot("run slow --progress 0").ok().err.contains("progress:"));
}

#[test]
fn many_jobs_that_cost_little_are_one_line() {
    let shell = slow(9, 0.0);
    let run = shell.spot("run slow").ok();
    run.complains("executed  9 jobs of `nap` in ").complains(": never seen");
    assert_eq!(run.err.matches("executed  ").count(), 1, "{}", run.err);
}

#[test]
fn what_is_stale_costs_what_it_cost_before() {
    let shell = slow(2, 0.5);
    assert!(!shell.spot("status slow").ok().out.contains("work:"));
    shell.spot("run slow --jobs 1").ok();
    assert!(!shell.spot("status slow").ok().out.contains("work:"));
    shell.edit("pipelines/slow.yaml", "at: [0, 1]", "at: [0, 1, 2]");
    shell.edit("pipelines/slow.yaml", "sleep 0.5", "sleep 0.6");
    let status = shell.spot("status slow").ok();
    status.prints("work: about ").prints(" of jobs, ").prints("(2 by their own last time, 1 by others of their stage)");
    let json = shell.spot("run slow --dry-run --format json").ok().json();
    let seconds: Vec<f64> =
        json["jobs"].as_array().unwrap().iter().map(|job| job["seconds"].as_f64().unwrap()).collect();
    assert!(seconds.len() == 3 && seconds.iter().all(|seconds| (0.5..5.0).contains(seconds)), "{seconds:?}");
    assert_eq!(json["jobs"][2]["seconds_by"], "stage");
    assert!(json["forecast"]["seconds"].as_f64().unwrap() > 0.5 && json["forecast"]["unknown"] == 0);
    shell.spot("run slow").ok();
    let again = shell.spot("run slow").ok();
    let saved =
        again.err.split("; what was cached took ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(saved.is_some_and(|seconds| seconds >= 1.8), "{}", again.err);
}

#[test]
fn a_trace_has_every_job_that_was_executed() {
    let shell = slow(4, 0.2);
    let events = shell.spot("run slow --jobs 2 --trace trace.json --format json").ok().lines();
    let trace: Value = serde_json::from_str(&shell.read("trace.json")).unwrap();
    let all = trace["traceEvents"].as_array().unwrap();
    let mut names: Vec<&str> = all.iter().map(|event| event["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut executed = named(&events, "executed");
    executed.sort();
    assert_eq!(names, executed);
    for event in all {
        assert_eq!((&event["ph"], &event["args"]["state"]), (&"X".into(), &"executed".into()));
        // A job's row is free once its entry is written, which may be after the next one began.
        assert!(event["dur"].as_u64().unwrap() >= 200_000 && event["tid"].as_u64().unwrap() < 4, "{event}");
    }
    // What ran at once stands in different rows.
    let span = |event: &Value| {
        let start = event["ts"].as_u64().unwrap();
        start..start + event["dur"].as_u64().unwrap()
    };
    for (at, event) in all.iter().enumerate() {
        let beside = |other: &&Value| span(other).start < span(event).end && span(event).start < span(other).end;
        assert!(all[..at].iter().filter(beside).all(|other| other["tid"] != event["tid"]), "{trace}");
    }
}
