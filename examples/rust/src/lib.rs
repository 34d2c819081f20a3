//! inlay for Rust: GGUF in, tokens out.
//!
//! Handles free what they own when they are dropped; failures are [`Error`]s; what must be used by one thread at a time
//! takes `&mut self`, and a view of logits borrows the session, so that the compiler keeps inlay.h's rules.
mod ffi;
mod text;

use std::ffi::{CStr, CString};
use std::mem::{size_of, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use text::Utf8Text;

pub type Token = i32;
pub type Result<T> = std::result::Result<T, Error>;

/// A call that failed: the `inlay_status` and a message that names the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub status: i32,
    pub message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Runs a call of the C API with a place for its error.
fn check(call: impl FnOnce(*mut *mut ffi::Error) -> i32) -> Result<()> {
    let mut error = null_mut();
    let status = call(&mut error);
    if status == ffi::OK {
        return Ok(());
    }
    // SAFETY: the message lives as long as the error, which is freed once; NULL is allowed in both.
    let message = unsafe { CStr::from_ptr(ffi::inlay_error_message(error)) };
    let message = message.to_string_lossy().into_owned();
    unsafe { ffi::inlay_error_free(error) };
    Err(Error { status, message })
}

/// Reads an array whose size the library knows: `call(out, capacity, size, error)` is made again if it does not fit.
fn read<T: Copy + Default>(
    capacity: usize,
    mut call: impl FnMut(*mut T, usize, *mut usize, *mut *mut ffi::Error) -> i32,
) -> Result<Vec<T>> {
    let mut out = vec![T::default(); capacity];
    loop {
        let mut size = 0;
        let done = check(|error| call(out.as_mut_ptr(), out.len(), &mut size, error));
        match done {
            Err(error) if error.status == ffi::BUFFER_TOO_SMALL => out.resize(size, T::default()),
            Err(error) => return Err(error),
            Ok(()) => {
                out.truncate(size);
                return Ok(out);
            }
        }
    }
}

struct ModelHandle(*mut ffi::Model);

// SAFETY: the library allows any call on a model from any threads at the same time.
unsafe impl Send for ModelHandle {}
unsafe impl Sync for ModelHandle {}

impl Drop for ModelHandle {
    fn drop(&mut self) {
        unsafe { ffi::inlay_model_close(self.0) }
    }
}

/// A GGUF file, opened and ready to run. A cheap handle that threads may share.
#[derive(Clone)]
pub struct Model(Arc<ModelHandle>);

/// How a model is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Of a forward pass on the CPU; 0: one per core.
    pub threads: i32,
    /// "generic", "avx2", "avx512" or "amx" instead of the best.
    pub kernels: Option<String>,
}

impl Model {
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Model> {
        let found = unsafe { ffi::inlay_abi_version() };
        if found != ffi::ABI_VERSION {
            let message = format!("libinlay has version {found} of the ABI");
            return Err(Error { status: ffi::UNSUPPORTED, message });
        }
        let path = c_string(path.as_ref().as_os_str().as_bytes())?;
        let kernels = options.kernels.as_ref().map(|name| c_string(name.as_bytes())).transpose()?;
        let mut given = MaybeUninit::<ffi::ModelOptions>::zeroed();
        let mut model = null_mut();
        // SAFETY: `_init` fills the whole struct; all zeros are a valid one, too.
        let given = unsafe {
            ffi::inlay_model_options_init(given.as_mut_ptr(), size_of::<ffi::ModelOptions>());
            given.assume_init_mut()
        };
        given.threads = options.threads;
        given.cpu_isa = kernels.as_ref().map_or(null(), |name| name.as_ptr());
        check(|error| unsafe { ffi::inlay_model_open(path.as_ptr(), given, &mut model, error) })?;
        Ok(Model(Arc::new(ModelHandle(model))))
    }

    /// Token ids of `text` with those that the model wants around it.
    pub fn tokenize(&self, text: &str) -> Result<Vec<Token>> {
        read(text.len() + 2, |out, capacity, size, error| unsafe {
            let (data, flags) = (text.as_ptr().cast(), ffi::ADD_SPECIAL);
            ffi::inlay_tokenize(self.0 .0, data, text.len(), flags, out, capacity, size, error)
        })
    }

    /// The bytes of one token, possibly a part of a character.
    pub fn piece(&self, token: Token) -> Result<Vec<u8>> {
        read(64, |out: *mut u8, capacity, size, error| unsafe {
            ffi::inlay_token_piece(self.0 .0, token, 0, out.cast(), capacity, size, error)
        })
    }

    /// Whether the token ends a generation.
    pub fn is_end(&self, token: Token) -> Result<bool> {
        let mut is_end = 0;
        check(|error| unsafe { ffi::inlay_token_is_end(self.0 .0, token, &mut is_end, error) })?;
        Ok(is_end != 0)
    }

    /// A sequence of at most `context_length` tokens; 0: as many as the model was trained for.
    pub fn session(&self, context_length: i32, sampling: &Sampling) -> Result<Session> {
        let sampling = sampling.to_c();
        let mut options = MaybeUninit::<ffi::SessionOptions>::zeroed();
        let mut session = null_mut();
        // SAFETY: as in `open`.
        let options = unsafe {
            ffi::inlay_session_options_init(options.as_mut_ptr(), size_of::<ffi::SessionOptions>());
            options.assume_init_mut()
        };
        options.sampling = &sampling;
        options.context_length = context_length;
        check(|error| unsafe { ffi::inlay_session_create(self.0 .0, options, &mut session, error) })?;
        Ok(Session::new(self, session))
    }
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|error| {
        let message = format!("{:?}: {error}", String::from_utf8_lossy(bytes));
        Error { status: ffi::INVALID_ARGUMENT, message }
    })
}

/// How the next token is chosen; the defaults are greedy.
#[derive(Debug, Clone, Default)]
pub struct Sampling {
    pub temperature: f32,
    pub seed: u64,
    /// 0: all.
    pub top_k: i32,
}

impl Sampling {
    fn to_c(&self) -> ffi::SamplingOptions {
        let mut options = MaybeUninit::<ffi::SamplingOptions>::zeroed();
        // SAFETY: as in `Model::open`.
        let mut options = unsafe {
            ffi::inlay_sampling_options_init(options.as_mut_ptr(), size_of::<ffi::SamplingOptions>());
            options.assume_init()
        };
        options.temperature = self.temperature;
        options.seed = self.seed;
        options.top_k = self.top_k;
        options
    }
}

struct SessionHandle(*mut ffi::Session);

// SAFETY: a session may be used by any one thread at a time. Every method of `Session` but `canceller` takes `&mut self`,
// and all that a `Canceller` does is `inlay_session_cancel`, which several threads may call at the same time.
unsafe impl Send for SessionHandle {}
unsafe impl Sync for SessionHandle {}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        unsafe { ffi::inlay_session_free(self.0) }
    }
}

/// Ends the call that runs on a session, or the next one, from any thread.
#[derive(Clone)]
pub struct Canceller(Arc<SessionHandle>);

impl Canceller {
    pub fn cancel(&self) {
        unsafe { ffi::inlay_session_cancel(self.0 .0) }
    }
}

/// One sequence of tokens and its KV cache.
pub struct Session {
    handle: Arc<SessionHandle>,
    model: Model,
}

impl Session {
    fn new(model: &Model, session: *mut ffi::Session) -> Session {
        Session { handle: Arc::new(SessionHandle(session)), model: model.clone() }
    }

    /// Appends tokens and evaluates them.
    pub fn prefill(&mut self, tokens: &[Token]) -> Result<()> {
        let (data, n) = (if tokens.is_empty() { null() } else { tokens.as_ptr() }, tokens.len());
        check(|error| unsafe { ffi::inlay_session_prefill(self.handle.0, data, n, error) })
    }

    /// Chooses the next token and appends it.
    pub fn step(&mut self) -> Result<Token> {
        let mut token = 0;
        check(|error| unsafe { ffi::inlay_session_step(self.handle.0, &mut token, error) })?;
        Ok(token)
    }

    /// The logits after the last token, without a copy.
    pub fn logits(&mut self) -> Result<&[f32]> {
        let (mut data, mut size) = (null(), 0);
        check(|error| unsafe { ffi::inlay_session_logits(self.handle.0, &mut data, &mut size, error) })?;
        // SAFETY: they are valid until the next call on the session, which the borrow of `self` prevents.
        Ok(unsafe { std::slice::from_raw_parts(data, size) })
    }

    /// A second session with the same tokens and sampler state.
    pub fn fork(&mut self) -> Result<Session> {
        let mut fork = null_mut();
        check(|error| unsafe { ffi::inlay_session_fork(self.handle.0, &mut fork, error) })?;
        Ok(Session::new(&self.model, fork))
    }

    /// Drops all tokens from position `length` on.
    pub fn rewind(&mut self, length: i32) -> Result<()> {
        check(|error| unsafe { ffi::inlay_session_rewind(self.handle.0, length, error) })
    }

    /// All tokens so far.
    pub fn tokens(&mut self) -> Result<Vec<Token>> {
        read(0, |out, capacity, size, error| unsafe {
            ffi::inlay_session_tokens(self.handle.0, out, capacity, size, error)
        })
    }

    pub fn canceller(&self) -> Canceller {
        Canceller(self.handle.clone())
    }

    /// What follows the tokens so far, piece by piece, up to an end token or `max_tokens`. A piece is computed when it
    /// is asked for.
    pub fn generate(&mut self, max_tokens: usize) -> Pieces<'_> {
        Pieces { session: self, left: max_tokens, text: Utf8Text::default(), ended: false }
    }
}

/// A token and the text that it completes, which is empty while a character is unfinished. What is left of one comes at
/// the end, without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub token: Option<Token>,
    pub text: String,
}

/// The iterator of [`Session::generate`]. It ends after the first failure.
pub struct Pieces<'session> {
    session: &'session mut Session,
    left: usize,
    text: Utf8Text,
    ended: bool,
}

impl Pieces<'_> {
    /// None after the last token.
    fn next_token(&mut self) -> Result<Option<Piece>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let token = self.session.step()?;
        if self.session.model.is_end(token)? {
            return Ok(None);
        }
        let text = self.text.push(&self.session.model.piece(token)?);
        Ok(Some(Piece { token: Some(token), text }))
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Result<Piece>> {
        if self.ended {
            return None;
        }
        match self.next_token() {
            Ok(Some(piece)) => Some(Ok(piece)),
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
            Ok(None) => {
                self.ended = true;
                let text = self.text.finish();
                (!text.is_empty()).then(|| Ok(Piece { token: None, text }))
            }
        }
    }
}
