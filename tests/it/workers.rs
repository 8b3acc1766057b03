//! What a worker has decides what it takes; one process starts a worker for each GPU.

use super::shell::Shell;
use std::time::{Duration, Instant};

/// Two light jobs, one that needs more memory than small workers have, and one that reads what all three made.
fn plan() -> Shell {
    let shell = Shell::new();
    let log = shell.path("log").display().to_string();
    let says = |what: &str| {
        format!("run: [sh, -c, 'echo {what} >> {log}; echo {what} > \"$SPOT_OUT/o.txt\"'], outputs: [o.txt]")
    };
    let text = format!(
        "version: 1\nname: mixed\nvars: {{large: 40GiB}}\nstages:\n  light: {{kind: command, matrix: {{i: [0, 1]}}, {}}}\n  \
         heavy: {{kind: command, resources: {{memory: \"${{large}}\", time: 1h}}, {}}}\n  sum:\n    kind: command\n    \
         run: [sh, -c, 'echo sum >> {log}; cat \"$SPOT_IN_all\"/* > \"$SPOT_OUT/all.txt\"']\n    \
         sets: {{all: [\"light[*].o.txt\", heavy.o.txt]}}\n    outputs: [all.txt]\n",
        says("light ${i}"),
        says("heavy"),
    );
    shell.write("pipelines/mixed.yaml", text)
}

fn lines(shell: &Shell) -> Vec<String> {
    let mut lines: Vec<String> =
        std::fs::read_to_string(shell.path("log")).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_worker_leaves_what_it_cannot_do_and_says_so_if_nobody_does_it() {
    let shell = plan();
    let leased = |line: &str| shell.spot(line).env("SPOT_LEASES", "always").env("SPOT_LEASE_SECONDS", "1");
    let done = leased("run mixed --worker --memory-limit 2GiB").exits_with(5);
    let why = "1 left that nobody is seen to do and this worker cannot: `heavy` needs 40.0 GiB of memory, and there are 2.0 GiB here";
    assert!(done.err.contains(why), "{}", done.err);
    assert_eq!(lines(&shell), ["light 0", "light 1"]);
    // Enough memory, and less time left than it takes.
    let done = leased("run mixed --worker --memory-limit 64GiB --time-limit 59m").exits_with(5);
    assert!(done.err.contains("`heavy` needs 60 min 00 s, and 58 min "), "{}", done.err);
    assert_eq!(lines(&shell), ["light 0", "light 1"]);
    leased("run mixed --worker --memory-limit 64GiB --time-limit 61m").ok();
    assert_eq!(lines(&shell), ["heavy", "light 0", "light 1", "sum"]);
}

#[test]
fn workers_of_two_sizes_do_what_each_can() {
    for leases in ["always", "never"] {
        let shell = plan();
        let worker = |more: &str| {
            let line = format!("run mixed --worker --run one {more}");
            let spot = shell.spot(&line).env("SPOT_LEASE_SECONDS", "5");
            if leases == "always" { spot.env("SPOT_LEASES", "always").start() } else { spot.start() }
        };
        let mut small = worker("--memory-limit 2GiB");
        // It does what it can, and waits for somebody who does the rest.
        let start = Instant::now();
        while lines(&shell).len() < 2 {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut large = worker("--memory-limit 64GiB");
        assert!(large.wait().unwrap().success() && small.wait().unwrap().success(), "{leases}");
        assert_eq!(lines(&shell), ["heavy", "light 0", "light 1", "sum"]);
        assert_eq!(shell.read("cache/v1/views/mixed/sum/all.txt").lines().count(), 3);
        let entry = shell.read("cache/v1/views/mixed/heavy/entry.json");
        assert!(entry.contains("64GiB"), "{entry}");
    }
}

/// What a worker cannot do may become ready long after others have done what it could not do before.
#[test]
fn a_worker_gives_others_time_for_every_job() {
    let command = "kind: command, outputs: [o.txt], run: [sh, -c";
    let text = format!(
        "version: 1\nname: chain\nstages:\n  first: {{{command}, 'echo 1 > \"$SPOT_OUT/o.txt\"'], resources: {{gpus: 0, memory: 40GiB}}}}\n  \
         between: {{{command}, 'sleep 4; cp \"$SPOT_IN_a\" \"$SPOT_OUT/o.txt\"'], inputs: {{a: {{output: first.o.txt}}}}}}\n  \
         last: {{{command}, 'sleep 1; cp \"$SPOT_IN_a\" \"$SPOT_OUT/o.txt\"'], inputs: {{a: {{output: between.o.txt}}}}, resources: {{memory: 40GiB}}}}\n"
    );
    let shell = Shell::new().write("pipelines/chain.yaml", text);
    let worker = |limit: &str| {
        let line = format!("run chain --worker --run one --memory-limit {limit}");
        shell.spot(&line).env("SPOT_LEASES", "always").env("SPOT_LEASE_SECONDS", "1").start()
    };
    let (mut small, mut large) = (worker("2GiB"), worker("64GiB"));
    assert!(large.wait().unwrap().success() && small.wait().unwrap().success());
    assert_eq!(shell.read("cache/v1/views/chain/last/o.txt"), "1\n");
}

#[test]
fn a_run_alone_does_everything_and_says_what_there_is_not() {
    let shell = plan();
    let done = shell.spot("run mixed --memory-limit 2GiB").ok();
    let warning = "needs 40.0 GiB of memory, and there are 2.0 GiB here; it runs all the same";
    assert_eq!(done.err.matches(warning).count(), 1, "{}", done.err);
    // What a job needs is nothing that its result depends on.
    shell.edit("pipelines/mixed.yaml", "large: 40GiB", "large: 41GiB");
    assert!(shell.executed_by("run mixed --memory-limit 64GiB").is_empty());
}

#[test]
fn needs_that_can_be_read_in_two_ways_are_refused() {
    let shell = plan();
    for (written, told) in [
        ("{memory: 40}", "`resources.memory` is the number 40, expected a text"),
        ("{memory: 40GB}", "`resources.memory`: expected a number and `GiB`, `MiB` or `KiB`"),
        ("{time: 2}", "`resources.time` is the number 2, expected a text"),
        ("{gpus: true}", "`resources.gpus` is `true`, expected a whole number, 0 or more"),
        ("{gpus: 1.0}", "`resources.gpus` is the number 1.0, expected a whole number, 0 or more"),
        ("{gpus: -1}", "`resources.gpus` is the number -1, expected a whole number, 0 or more"),
        ("{gpu: 1}", "unknown key `gpu` in `resources`; did you mean `gpus`?"),
        ("[1]", "`resources` is a list, expected"),
    ] {
        let text = format!(
            "version: 1\nname: bad\nstages:\n  a: {{kind: command, resources: {written}, run: [\"true\"], outputs: [o]}}\n"
        );
        shell.put("pipelines/bad.yaml", text);
        let done = shell.spot("status bad").exits_with(2);
        assert!(done.err.contains(told), "{written}: {}", done.err);
    }
}

#[test]
fn workers_for_gpus_need_gpus() {
    let shell = plan();
    shell.spot("run mixed --workers-per-gpu 1").exits_with(2);
    shell.spot("run mixed --worker --workers-per-gpu 0").exits_with(2);
    let done = shell.spot("run mixed --worker --workers-per-gpu 1 --device cpu").exits_with(5);
    assert!(done.err.contains("it is to compute on GPUs, and `--device cpu` is none"), "{}", done.err);
    // What Slurm starts is told to.
    let script = shell.spot("slurm script mixed --executor slurm --workers-per-gpu 2 --memory-limit 8GiB").ok();
    assert!(
        script.out.contains("--memory-limit 8388608KiB --device auto --worker --workers-per-gpu 2"),
        "{}",
        script.out
    );
}
