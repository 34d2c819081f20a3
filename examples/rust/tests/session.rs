//! What the program does not use. The environment variable INLAY_TEST_MODEL names a model.
use inlay::{Model, Options, Sampling};

const CANCELLED: i32 = 8;

fn open() -> Model {
    let path = std::env::var("INLAY_TEST_MODEL").expect("INLAY_TEST_MODEL names no model");
    Model::open(path, &Options { threads: 1, ..Options::default() }).unwrap()
}

#[test]
fn a_fork_goes_on_as_its_parent_and_a_rewind_leaves_no_trace() {
    let model = open();
    let mut session = model.session(0, &Sampling { temperature: 2.0, seed: 5, top_k: 100 }).unwrap();
    let prompt = model.tokenize("hello").unwrap();
    session.prefill(&prompt).unwrap();
    let logits = session.logits().unwrap().to_vec();
    let mut fork = session.fork().unwrap();
    let steps: Vec<_> = (0..8).map(|_| session.step().unwrap()).collect();
    assert_eq!((0..8).map(|_| fork.step().unwrap()).collect::<Vec<_>>(), steps);
    assert_eq!(fork.tokens().unwrap(), [prompt.clone(), steps].concat());
    fork.rewind(prompt.len() as i32).unwrap();
    assert_eq!(fork.tokens().unwrap(), prompt);
    assert_eq!(fork.logits().unwrap(), logits);
}

#[test]
fn another_thread_cancels() {
    let mut session = open().session(0, &Sampling::default()).unwrap();
    let canceller = session.canceller();
    std::thread::spawn(move || canceller.cancel()).join().unwrap();
    assert_eq!(session.prefill(&[5, 6]).unwrap_err().status, CANCELLED);
    session.prefill(&[5, 6]).unwrap();
    drop(session);
}

#[test]
fn failures_name_the_thing_and_end_a_generation() {
    let options = Options { kernels: Some("z80".into()), ..Options::default() };
    assert!(Model::open("none.gguf", &options).err().unwrap().message.contains("z80"));
    assert!(Model::open("none.gguf", &Options::default()).err().unwrap().message.contains("none.gguf"));
    let mut session = open().session(4, &Sampling::default()).unwrap();
    assert!(session.prefill(&[]).is_err());
    session.prefill(&[5, 6, 7]).unwrap();
    let pieces: Vec<_> = session.generate(10).collect();
    assert!(pieces.len() <= 3 && pieces.iter().filter(|piece| piece.is_err()).count() <= 1, "{pieces:?}");
}
