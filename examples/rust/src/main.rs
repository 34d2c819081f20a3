//! Generates text: generate MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]
//!
//! The text goes to stdout as it comes, the ids of its tokens to stderr at the end.
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;

use inlay::{Model, Options, Sampling};

/// The argument at `index`, or a default if there are fewer.
fn argument<T: FromStr>(arguments: &[String], index: usize, default: T) -> Result<T, T::Err> {
    arguments.get(index).map_or(Ok(default), |text| text.parse())
}

fn generate(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let prompt = argument(arguments, 2, String::from("The capital of France is"))?;
    let max_tokens = argument(arguments, 3, 256)?;
    let temperature = argument(arguments, 4, 0.0)?;
    let seed = argument(arguments, 5, 0)?;
    let kernels = arguments.get(6).cloned();

    let model = Model::open(&arguments[1], &Options { kernels, ..Options::default() })?;
    let mut session = model.session(0, &Sampling { temperature, seed, ..Sampling::default() })?;
    session.prefill(&model.tokenize(&prompt)?)?;
    let mut tokens = Vec::new();
    let mut stdout = std::io::stdout();
    for piece in session.generate(max_tokens) {
        let piece = piece?;
        tokens.extend(piece.token.map(|token| token.to_string()));
        stdout.write_all(piece.text.as_bytes())?;
        stdout.flush()?;
    }
    writeln!(stdout)?;
    eprintln!("tokens: {}", tokens.join(" "));
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() < 2 {
        eprintln!("usage: generate MODEL [PROMPT [MAX_TOKENS [TEMPERATURE [SEED [KERNELS]]]]]");
        return ExitCode::from(2);
    }
    match generate(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}
