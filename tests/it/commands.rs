//! Programs of a user's own as stages: what they see, what makes them run again, and what is said where they go wrong.

use super::shell::{Done, PROJECT, Shell};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What README.md shows.
const STAGES: &str = r#"  clean:
    kind: command
    run: [sh, "{script}", --least, 3]
    inputs: {script: tools/clean.sh, rows: data/raw.csv}
    outputs: [reviews.csv]

  data:
    kind: ingest
    backbone: backbone
    from: {table: {train: {output: clean.reviews.csv}, template: "{text}", label: stars}}
"#;

/// Keeps rows with at least so many stars.
const CLEAN: &str = "\
[ \"$1\" = --least ] || exit 9
head -n 1 \"$SPOT_IN_rows\" > \"$SPOT_OUT/reviews.csv\"
tail -n +2 \"$SPOT_IN_rows\" | while IFS=, read -r text stars; do
    if [ \"$stars\" -ge \"$2\" ]; then echo \"$text,$stars\"; fi
done >> \"$SPOT_OUT/reviews.csv\"
";

fn rows() -> String {
    let row = |i: usize| format!("text {i},{}\n", i % 5 + 1);
    format!("text,stars\n{}", (0..40).map(row).collect::<String>())
}

fn pipeline() -> Shell {
    let head = "version: 1\nname: own\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n\n";
    Shell::new()
        .write("pipelines/own.yaml", format!("{head}{STAGES}"))
        .write("tools/clean.sh", CLEAN)
        .write("data/raw.csv", rows())
}

/// A pipeline of one program, a shell script that is an input.
fn script(text: &str, more: &str) -> Shell {
    let stage = format!("kind: command\n    run: [sh, \"{{script}}\"]\n    inputs: {{script: s.sh}}\n    {more}\n");
    Shell::new()
        .write("pipelines/one.yaml", format!("version: 1\nname: one\nstages:\n  it:\n    {stage}"))
        .write("s.sh", text)
}

/// What a job made.
fn made(shell: &Shell, job: &str, name: &str) -> String {
    shell.read(&format!("cache/v1/views/one/{job}/{name}"))
}

/// Nothing of an execution is left, but for what the store keeps.
#[track_caller]
fn nothing_is_left(shell: &Shell) {
    let left = Command::new("find").arg(shell.path("cache/v1/partial")).args(["-name", "program-*"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap(), "");
}

#[test]
fn the_example_of_the_readme_runs() {
    let readme = std::fs::read_to_string(Path::new(PROJECT).join("README.md")).unwrap();
    assert!(readme.contains(STAGES), "README.md lacks\n{STAGES}");
    let shell = pipeline();
    shell.spot("run own").ok();
    let cleaned = shell.read("cache/v1/views/own/clean/reviews.csv");
    assert!(cleaned.starts_with("text,stars\ntext 2,3\ntext 3,4\n"), "{cleaned}");
    assert_eq!(cleaned.lines().count(), 25);
    nothing_is_left(&shell);
    assert!(
        !shell.path("cache/v1/partial").exists() || shell.path("cache/v1/partial").read_dir().unwrap().count() == 0
    );
    assert_eq!(shell.executed_by("run own"), [""; 0]);
    shell.spot("audit own").ok().prints("everything is as it was made");
}

#[test]
fn an_edited_script_runs_again_and_equal_bytes_end_it_there() {
    let shell = pipeline();
    shell.spot("run own").ok();
    shell.put("tools/clean.sh", format!("# The same in other words.\n{CLEAN}"));
    shell.spot("status own --exit-code").exits_with(10).prints("input inputs.script:");
    assert_eq!(shell.executed_by("run own"), ["clean"]);
    shell.edit("pipelines/own.yaml", "--least, 3", "--least, 4");
    assert_eq!(shell.executed_by("run own"), ["clean", "data"]);
    // Back: both results are there.
    shell.edit("pipelines/own.yaml", "--least, 4", "--least, 3");
    assert_eq!(shell.executed_by("run own"), [""; 0]);
}

#[test]
fn names_of_stages_paths_and_time_limits_are_in_no_key() {
    let shell = pipeline();
    shell.spot("run own").ok();
    shell.put("other/wash.sh", CLEAN);
    shell.edit("pipelines/own.yaml", "tools/clean.sh", "other/wash.sh");
    shell.edit("pipelines/own.yaml", "  clean:\n", "  wash:\n    timeout: 60\n");
    shell.edit("pipelines/own.yaml", "clean.reviews.csv", "wash.reviews.csv");
    assert_eq!(shell.executed_by("run own"), [""; 0]);
}

#[test]
fn nothing_of_the_environment_leaks_in() {
    let text = "cd \"$SPOT_OUT/..\"\n[ -z \"$(ls -A work)$(ls -A tmp)\" ] || exit 8\nenv | sort > \"$SPOT_OUT/seen\"\n";
    let shell = script(text, "outputs: [seen]\n    environment: {LEVEL: 3, NAME: \"a b\"}");
    shell.spot("run one").env("SECRET", "x").env("LD_DEBUG_OUTPUT", "y").ok();
    let seen = made(&shell, "it", "seen");
    let names: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let own = ["HOME", "LEVEL", "NAME", "OLDPWD", "PATH", "PWD", "SPOT_IN_script", "SPOT_OUT", "TMPDIR", "_"];
    assert!(names.iter().all(|name| own.contains(name)), "{names:?}");
    assert!(seen.contains("PATH=/usr/local/bin:/usr/bin:/bin\n") && seen.contains("NAME=a b\n"), "{seen}");
    assert!(seen.contains("LEVEL=3\n"), "{seen}");
}

#[test]
fn a_variable_that_the_manifest_names_comes_in_and_counts() {
    let shell =
        script("echo \"$GREETING\" > \"$SPOT_OUT/seen\"\n", "outputs: [seen]\n    environment: {GREETING: \"${HI}\"}");
    shell.edit("pipelines/one.yaml", "name: one\n", "name: one\nenvironment: {HI: null}\n");
    shell.spot("run one").env("HI", "hello").ok();
    assert_eq!(made(&shell, "it", "seen"), "hello\n");
    shell.spot("status one --exit-code").env("HI", "hello").ok();
    let changed = shell.spot("status one --exit-code").env("HI", "bye").exits_with(10);
    changed.prints("environment.GREETING: \"hello\" -> \"bye\"");
}

#[test]
fn no_shell_reads_arguments_and_names_become_paths() {
    let shell = Shell::new().write("in.txt", "content\n").write(
        "pipelines/one.yaml",
        "version: 1\nname: one\nstages:\n  copy: {kind: command, run: [cp, \"{given}\", \"{out.txt}\"], inputs: {given: in.txt}, \
         outputs: [out.txt]}\n  odd:\n    kind: command\n    run: [sh, -c, 'printf \"%s|\" \"$@\" > \"$SPOT_OUT/a\"', x, \
         \"$HOME; *\", \"{{b}}\", '']\n    outputs: [a]\n",
    );
    shell.spot("run one").ok();
    assert_eq!(made(&shell, "copy", "out.txt"), "content\n");
    assert_eq!(made(&shell, "odd", "a"), "$HOME; *|{b}||");
}

#[test]
fn a_script_with_a_first_line_is_a_program() {
    let shell = Shell::new().write("s", "#!/bin/sh\necho \"$0\" > \"$SPOT_OUT/a\"\n").write(
        "pipelines/one.yaml",
        "version: 1\nname: one\nstages:\n  it: {kind: command, run: [\"{s}\"], inputs: {s: s}, outputs: [a]}\n",
    );
    shell.spot("run one").ok();
    assert!(made(&shell, "it", "a").ends_with("/in/s\n"));
    shell.put("s", "#!/no/such/interpreter\n");
    shell.spot("run one").exits_with(1).complains("the interpreter that");
}

#[test]
fn inputs_are_copies_that_a_program_may_spoil() {
    let shell = script("chmod u+w \"$0\"; echo spoilt > \"$0\"; cp \"$0\" \"$SPOT_OUT/a\"\n", "outputs: [a]");
    shell.spot("run one").ok();
    assert!(shell.read("s.sh").starts_with("chmod"));
    assert_eq!(made(&shell, "it", "a"), "spoilt\n");
    let blob = shell.behind("one", "it", "a");
    assert!(std::fs::metadata(blob).unwrap().permissions().readonly());
}

#[test]
fn a_matrix_makes_jobs_and_a_set_gathers_them() {
    let shell = Shell::new().write(
        "pipelines/one.yaml",
        "version: 1\nname: one\nstages:\n  part:\n    kind: command\n    matrix: {n: [1, 2, 3]}\n    run: [sh, -c, \
         'echo \"part $0\" > \"$SPOT_OUT/p.txt\"', \"${n}\"]\n    outputs: [p.txt]\n  all:\n    kind: command\n    \
         run: [sh, -c, 'sort \"$0\"/*.txt > \"$1\"', \"{parts}\", \"{all}\"]\n    sets: {parts: \"part[*]\"}\n    \
         outputs: [all]\n",
    );
    // An ending is what a reference says, so the name of the output is needed for one.
    shell.spot("run one --keep-going").exits_with(1);
    shell.edit("pipelines/one.yaml", "part[*]", "part[*].p.txt");
    shell.spot("run one").ok();
    assert_eq!(made(&shell, "all", "all"), "part 1\npart 2\npart 3\n");
}

#[test]
fn artifacts_of_other_kinds_come_with_their_parts() {
    let shell = Shell::new().write(
        "pipelines/one.yaml",
        "version: 1\nname: one\nstages:\n  backbone: {kind: backbone, from: {builtin: nano}}\n  it:\n    kind: command\n    \
         run: [sh, -c, 'ls \"$SPOT_IN_model.parts\" > \"$SPOT_OUT/a\"']\n    inputs: {model: {output: backbone}}\n    \
         outputs: [a]\n",
    );
    shell.spot("run one").ok();
    assert_eq!(made(&shell, "it", "a"), "config.json\nmodel.safetensors\ntokenizer.json\n");
}

#[track_caller]
fn fails(text: &str, more: &str) -> Done {
    let shell = script(text, more);
    let done = shell.spot("run one").exits_with(1);
    nothing_is_left(&shell);
    assert_eq!(shell.states("one")["it"], "stale");
    done
}

#[test]
fn a_failure_says_how_it_ended_and_what_was_said_last() {
    let said = "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; echo 'no column `x`' >&2; exit 7\n";
    let done = fails(said, "outputs: [a]");
    done.complains("`sh` exited with code 7; it said:").complains("  line 4999\n").complains("  no column `x`");
    assert!(!done.err.contains("line 4900"), "{}", done.err);
    fails("kill -SEGV $$\n", "outputs: [a]").complains("`sh` was killed by signal 11 (SIGSEGV)");
    fails("cat s.sh\n", "outputs: [a]").complains("exited with code 1");
}

#[test]
fn outputs_must_be_those_that_were_declared() {
    let outputs = "outputs: [rows.csv]";
    fails("echo only said\n", outputs)
        .complains("`sh` did not write `rows.csv` into `$SPOT_OUT`; it said:\n  only said");
    let done = fails("cd \"$SPOT_OUT\"; : > rows.csv; : > row.csv\n", outputs);
    done.complains("`sh` wrote `row.csv` into `$SPOT_OUT`, which is not in `outputs`; did you mean `rows.csv`?");
    fails("ln -s /etc/passwd \"$SPOT_OUT/rows.csv\"\n", outputs).complains("is a symbolic link, expected a file");
    fails("mkdir \"$SPOT_OUT/rows.csv\"\n", outputs).complains("is a folder, expected a file");
    fails("mkfifo \"$SPOT_OUT/rows.csv\"\n", outputs).complains("is a special file, expected a file");
}

#[test]
fn an_empty_output_is_an_output() {
    let shell = script(": > \"$SPOT_OUT/a\"; mkdir locked; chmod 0 locked\n", "outputs: [a]");
    shell.spot("run one").ok();
    assert_eq!(made(&shell, "it", "a"), "");
    nothing_is_left(&shell);
}

#[test]
fn a_program_that_is_not_there_is_said_to_be_so() {
    let shell = script("", "outputs: [a]");
    shell.edit("pipelines/one.yaml", "[sh,", "[no_such_program,");
    shell
        .spot("run one")
        .exits_with(1)
        .complains("there is no program `no_such_program` in `/usr/local/bin:/usr/bin:/bin`");
    shell.edit("pipelines/one.yaml", "[no_such_program, \"{script}\"]", "[cat, s.sh]");
    shell
        .spot("run one")
        .exits_with(1)
        .complains("hint: `s.sh` is a file of the project")
        .complains("make it an input");
}

/// Whether a process is there that is no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !matches!(stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()), None | Some('Z'))
}

#[track_caller]
fn ends(pid: &str) {
    let started = Instant::now();
    while lives(pid) {
        assert!(started.elapsed() < Duration::from_secs(20), "{pid} lives");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn appears(path: &Path) -> String {
    let started = Instant::now();
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(started.elapsed() < Duration::from_secs(60), "{} does not appear", path.display()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program with a child, deaf to polite requests; its child's number goes to a file outside.
fn sleeper(more: &str) -> Shell {
    let shell = script("", more);
    let pid = shell.path("pid");
    shell.put("s.sh", format!("trap '' TERM\nsleep 600 &\necho $! > '{}'\nwait\nsleep 600\n", pid.display()));
    shell
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_its_children() {
    let shell = sleeper("outputs: [a]\n    timeout: 1");
    shell
        .spot("run one")
        .exits_with(1)
        .complains("`sh` took longer than `timeout`, 1 s, and was killed with all it had started");
    ends(&shell.read("pid"));
    nothing_is_left(&shell);
}

#[test]
fn an_interrupted_run_kills_its_programs() {
    let shell = sleeper("outputs: [a]");
    let run = shell.spot("run one").start();
    let pid = appears(&shell.path("pid"));
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    ends(&pid);
    nothing_is_left(&shell);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let shell = sleeper("outputs: [a]");
    let mut run = shell.spot("run one").start();
    appears(&shell.path("pid"));
    run.kill().unwrap();
    run.wait().unwrap();
    // The kernel killed the program, and the guard what it had started.
    ends(&shell.read("pid"));
    let kept = shell.read("s.sh");
    shell.put("s.sh", "echo done > \"$SPOT_OUT/a\"\n");
    shell.spot("run one").ok();
    shell.put("s.sh", kept);
    shell.edit("pipelines/one.yaml", "outputs: [a]", "outputs: [a]\n    timeout: 1");
    shell.spot("run one").exits_with(1);
    nothing_is_left(&shell);
}

#[test]
fn a_child_that_stays_behind_ends_with_its_program() {
    let shell = script("", "outputs: [a]");
    let pid = shell.path("pid");
    shell.put("s.sh", format!("sleep 600 &\necho $! > '{}'\n: > \"$SPOT_OUT/a\"\n", pid.display()));
    shell.spot("run one").ok();
    ends(&shell.read("pid"));
}

#[test]
fn commands_that_read_execute_nothing() {
    let shell = script("", "outputs: [a]");
    let trace = shell.path("trace");
    shell.put("s.sh", format!("echo ran >> '{}'\n: > \"$SPOT_OUT/a\"\n", trace.display()));
    for line in ["status one", "run one --dry-run", "graph one", "explain one it", "audit one", "schema"] {
        shell.spot(line).ok();
        assert!(!trace.exists(), "{line}");
    }
    shell.spot("run one").ok();
    shell.spot("audit one --rerun 5").ok();
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "ran\n");
    shell.spot("audit one --rerun 5 --commands").ok().prints("the same bytes again: it (command)");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "ran\nran\n");
}

#[test]
fn a_program_that_is_no_function_of_its_inputs_is_found_by_a_rerun() {
    let shell = script("", "outputs: [a]");
    shell.put("s.sh", "cat /proc/sys/kernel/random/uuid > \"$SPOT_OUT/a\"\n");
    shell.spot("run one").ok();
    let done = shell.spot("audit one --rerun 1 --commands").exits_with(3);
    done.prints("other bytes: it (command)").prints("no function of its inputs");
}

#[track_caller]
fn refused(from: &str, to: &str, message: &str, underlined: &str) {
    let shell = pipeline();
    shell.edit("pipelines/own.yaml", from, to);
    let done = shell.spot("run own").exits_with(2);
    done.complains(message);
    let lines: Vec<&str> = done.err.lines().collect();
    let at = lines.iter().position(|line| line.contains('^')).unwrap_or_else(|| panic!("{}", done.err));
    assert!(lines[at - 1].contains(underlined), "`{underlined}` is not in `{}`\n{}", lines[at - 1], done.err);
}

#[test]
fn mistakes_in_a_manifest_are_underlined() {
    let run = "run: [sh, \"{script}\", --least, 3]";
    refused(run, "run: []", "`run` is empty", "run: []");
    refused(
        run,
        "run: [sh, \"{scirpt}\"]",
        "`{scirpt}`, but no input or output has that name; did you mean `script`?",
        "{scirpt}",
    );
    refused(run, "run: [awk, '{print}}']", "has a `}` without its partner", "{print}}");
    refused(run, "run: [tools/clean.sh]", "make the file an input", "run: [tools/clean.sh]");
    refused(run, "run: [sh, \"{script}\", 0.10]", "a number with a fraction in quotes", "0.10");
    refused("[reviews.csv]", "[reviews.csv, ../x]", "which cannot name an output", "../x");
    refused("[reviews.csv]", "[reviews.csv, reviews.csv]", "already names an input or output", "reviews.csv]");
    refused("[reviews.csv]", "[]", "`outputs` is empty", "outputs: []");
    refused("rows: data/raw.csv", "rows: ../raw.csv", "leads out of the project", "../raw.csv");
    refused("rows: data/raw.csv", "rows: /etc/passwd", "leads out of the project", "/etc/passwd");
    refused("rows: data/raw.csv", "rows-1: data/raw.csv", "`rows-1` cannot name an input", "inputs");
    refused("rows: data/raw.csv", "rows: {outptu: backbone}", "did you mean `output`?", "outptu");
    refused("rows: data/raw.csv", "rows: {output: bakbone}", "no stage `bakbone`; did you mean `backbone`?", "bakbone");
    refused(
        "{output: clean.reviews.csv}",
        "{output: clean.review.csv}",
        "it makes `reviews.csv` (file)",
        "clean.review.csv",
    );
    refused("{output: clean.reviews.csv}", "{output: backbone}", "expected a file whose name ends in", "backbone}");
    refused(
        "{output: clean.reviews.csv}",
        "{output: clean}",
        "is `clean`, expected a file whose name ends in",
        "clean}",
    );
    refused("    outputs:", "    timeout: 0\n    outputs:", "`timeout` is 0", "timeout: 0");
    refused("    outputs:", "    environment: {SPOT_OUT: x}\n    outputs:", "is set by the program itself", "SPOT_OUT");
}

#[test]
fn a_closed_terminal_stops_a_run_like_any_signal() {
    let shell = sleeper("outputs: [a]");
    let mut run = shell.spot("run one").start();
    appears(&shell.path("pid"));
    assert!(Command::new("kill").args(["-HUP", &run.id().to_string()]).status().unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    ends(&shell.read("pid"));
}

#[test]
fn nobody_listening_does_not_spoil_a_run() {
    let shell = script("echo > \"$SPOT_OUT/a\"", "outputs: [a]");
    let line = format!("'{}' run one --force it 2>/dev/full", env!("CARGO_BIN_EXE_spot"));
    for line in
        [line.clone(), line.replace("2>/dev/full", "2>&-"), line.replace("2>/dev/full", "2>&1 >/dev/null | head -c1")]
    {
        let done = Command::new("sh").args(["-c", &line]).current_dir(shell.path(".")).output().unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
    }
}

#[test]
fn an_output_may_be_called_like_the_parts_of_another() {
    let shell = script("echo 1 > \"$SPOT_OUT/a\"; echo 2 > \"$SPOT_OUT/a.parts\"", "outputs: [a, a.parts]");
    shell.spot("run one").ok();
    assert_eq!(shell.executed_by("run one"), [""; 0]);
    assert_eq!((made(&shell, "it", "a"), made(&shell, "it", "a.parts")), ("1\n".to_owned(), "2\n".to_owned()));
    shell.spot("audit one").ok();
}

#[test]
fn an_input_may_name_a_stage_in_short() {
    let stages = "  first: {kind: command, matrix: {n: [1, 2]}, run: [sh, -c, 'echo ${n} > \"$SPOT_OUT/x\"'], outputs: [x]}\n  \
                  last:\n    kind: command\n    run: [sh, -c, 'cat \"$SPOT_IN_up\" \"$SPOT_IN_it\" > \"$SPOT_OUT/y\"']\n    \
                  inputs: {up: \"first[2]\", it: file}\n    outputs: [y]\n  \
                  copy: {kind: command, run: [sh, -c, 'cp \"$SPOT_IN_up\" \"$SPOT_OUT/z\"'], inputs: {up: last}, outputs: [z]}\n";
    let shell = Shell::new()
        .write("pipelines/one.yaml", format!("version: 1\nname: one\nstages:\n{stages}"))
        .write("file", "of the project\n");
    shell.spot("run one").ok();
    assert_eq!(made(&shell, "copy", "z"), "2\nof the project\n");
    // The long form is the same recipe.
    shell.edit("pipelines/one.yaml", "{up: last}", "{up: {output: last.y}}");
    assert_eq!(shell.executed_by("run one"), [""; 0]);
    shell.edit("pipelines/one.yaml", "first[2]", "first");
    shell.spot("run one").exits_with(2).complains("may stand for several jobs, but one is needed");
}
