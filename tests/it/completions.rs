//! Scripts for shells: they are read by the shells themselves, where they are installed.

use super::shell::Shell;
use std::process::Command;

/// What a shell prints for a line of its own language; `None` if there is no such shell.
fn said(shell: &str, line: &str, folder: &Shell) -> Option<String> {
    let output = Command::new(shell).args(["-c", line]).current_dir(folder.path(".")).output();
    let Ok(output) = output else {
        println!("skipped: no {shell}");
        return None;
    };
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    let shell = Shell::new();
    shell.put("spot.bash", shell.spot("completions bash").ok().out);
    let completes = |words: &str, expected: &str| {
        let last = words.split(' ').count() - 1;
        let before = words.split(' ').nth(last.saturating_sub(1)).unwrap();
        let word = words.split(' ').next_back().unwrap();
        let line = format!(
            "source ./spot.bash; COMP_WORDS=({words}); COMP_CWORD={last}; _spot spot '{word}' {before}; echo ${{COMPREPLY[@]}}"
        );
        if let Some(said) = said("bash", &line, &shell) {
            assert_eq!(said.trim(), expected, "{words}");
        }
    };
    completes("spot gra", "graph");
    completes("spot prompt ex", "export");
    completes("spot tas", "tasks");
    completes("spot tasks rte --of pro", "program project");
    completes("spot gc --keep", "--keep-runs");
    completes("spot gc --format js", "json");
}

#[test]
fn zsh_and_fish_can_read_their_scripts_and_other_shells_are_refused() {
    let shell = Shell::new();
    shell.spot("completions zsh").ok().prints("#compdef spot").prints("gc");
    shell.spot("completions fish").ok().prints("complete -c spot").prints("keep-runs");
    for name in ["zsh", "fish"] {
        shell.put("script", shell.spot(&format!("completions {name}")).ok().out);
        said(name, &format!("{name} -n ./script"), &shell);
    }
    shell.spot("completions csh").exits_with(2).complains("possible values: bash, zsh, fish");
}
