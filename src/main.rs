//! The `spot` program: the command line with the kinds of stages that SPoT has.

use std::process::ExitCode;

fn main() -> ExitCode {
    spot::cli::main(spot::stages::ALL)
}
