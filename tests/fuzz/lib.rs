//! Makes a program of libFuzzer out of a target of `otelcontext::fuzzing`.

#[doc(hidden)]
pub use libfuzzer_sys;

/// The program of the target that has its name.
#[macro_export]
macro_rules! program {
    () => {
        use $crate::libfuzzer_sys;

        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $crate::run(env!("CARGO_BIN_NAME"), input);
        });
    };
}

/// Runs the target of this name.
#[doc(hidden)]
pub fn run(name: &str, input: &[u8]) {
    let target = otelcontext::fuzzing::target(name);
    target.unwrap_or_else(|| panic!("`{name}` is not in otelcontext::fuzzing::TARGETS"))(input);
}
