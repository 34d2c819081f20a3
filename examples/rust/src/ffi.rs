//! The part of inlay.h that the wrapper uses, written by hand. inlay.h is its manual.
use std::os::raw::{c_char, c_void};

pub const ABI_VERSION: u32 = 1;
pub const OK: i32 = 0;
pub const INVALID_ARGUMENT: i32 = 1;
pub const UNSUPPORTED: i32 = 5;
pub const BUFFER_TOO_SMALL: i32 = 11;
pub const ADD_SPECIAL: u32 = 1;

/// Handles are opaque: a type of its own for each, so that they cannot be mixed up.
macro_rules! handles {
    ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _opaque: [u8; 0] })* };
}
handles!(Error Model Session);

#[repr(C)]
pub struct ModelOptions {
    pub struct_size: usize,
    pub device: i32,
    pub device_index: i32,
    pub threads: i32,
    pub batch_rows: i32,
    pub cpu_isa: *const c_char,
    pub progress: *const c_void,
    pub progress_user_data: *mut c_void,
    pub log: *const c_void,
    pub log_user_data: *mut c_void,
    pub parallel_for: *const c_void,
    pub parallel_for_user_data: *mut c_void,
    pub kv_format: i32,
    pub weight_layout: i32,
}

#[repr(C)]
pub struct SamplingOptions {
    pub struct_size: usize,
    pub seed: u64,
    pub temperature: f32,
    pub top_k: i32,
    pub top_p: f32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    pub penalty_window: i32,
}

#[repr(C)]
pub struct SessionOptions {
    pub struct_size: usize,
    pub sampling: *const SamplingOptions,
    pub context_length: i32,
    pub reserved: i32,
}

extern "C" {
    pub fn inlay_abi_version() -> u32;
    pub fn inlay_error_message(error: *const Error) -> *const c_char;
    pub fn inlay_error_free(error: *mut Error);

    pub fn inlay_model_options_init(options: *mut ModelOptions, struct_size: usize);
    pub fn inlay_model_open(
        path: *const c_char,
        options: *const ModelOptions,
        model: *mut *mut Model,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_model_close(model: *mut Model);
    pub fn inlay_tokenize(
        model: *const Model,
        text: *const c_char,
        text_size: usize,
        flags: u32,
        out: *mut i32,
        capacity: usize,
        size: *mut usize,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_token_piece(
        model: *const Model,
        token: i32,
        flags: u32,
        out: *mut c_char,
        capacity: usize,
        size: *mut usize,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_token_is_end(model: *const Model, token: i32, is_end: *mut i32, error: *mut *mut Error) -> i32;

    pub fn inlay_sampling_options_init(options: *mut SamplingOptions, struct_size: usize);
    pub fn inlay_session_options_init(options: *mut SessionOptions, struct_size: usize);
    pub fn inlay_session_create(
        model: *const Model,
        options: *const SessionOptions,
        session: *mut *mut Session,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_session_free(session: *mut Session);
    pub fn inlay_session_prefill(
        session: *mut Session,
        tokens: *const i32,
        n_tokens: usize,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_session_step(session: *mut Session, token: *mut i32, error: *mut *mut Error) -> i32;
    pub fn inlay_session_logits(
        session: *mut Session,
        logits: *mut *const f32,
        size: *mut usize,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_session_fork(session: *const Session, fork: *mut *mut Session, error: *mut *mut Error) -> i32;
    pub fn inlay_session_rewind(session: *mut Session, length: i32, error: *mut *mut Error) -> i32;
    pub fn inlay_session_tokens(
        session: *const Session,
        out: *mut i32,
        capacity: usize,
        size: *mut usize,
        error: *mut *mut Error,
    ) -> i32;
    pub fn inlay_session_cancel(session: *mut Session);
}
