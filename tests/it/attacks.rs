//! The attacks of `tools/attacks`, a few rounds of each, so that they keep working; their numbers of rounds are for people.

use super::shell::PROJECT;
use std::path::Path;
use std::process::{Command, Stdio};

/// Attacks with the built program. What they cannot try here they say.
#[track_caller]
fn holds(attack: &str, rounds: u32) {
    let script = Path::new(PROJECT).join("tools/attacks/attack.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).args([attack, "--rounds", &rounds.to_string()]);
    command.args(["--spot", env!("CARGO_BIN_EXE_spot")]).stdin(Stdio::null());
    let Ok(output) = command.output() else {
        println!("not tried: there is no python3");
        return;
    };
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("stuck") || said.contains("not tried: "), "{said}");
}

#[test]
fn killed_runs_go_on_as_if_nothing_had_happened() {
    holds("kills", 4);
}

#[test]
fn a_flipped_bit_of_any_file_is_found_or_harmless() {
    holds("flips", 2);
}

#[test]
fn what_the_disk_forgets_when_the_power_fails_is_made_anew() {
    holds("power", 5);
}
