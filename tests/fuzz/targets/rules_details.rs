#![no_main]

otelcontext_fuzz::program!();
