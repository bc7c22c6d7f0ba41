//! The HTTP API against a real server: over real HTTP, with clients over real QUIC.
//!
//! | what it does | the test, by file and name |
//! |---|---|
//! | **Keys** | `auth` |
//! | every route asks for its scope | `every_operation_asks_for_a_key_with_its_scope` |
//! | keys are made, rotated and removed | `a_key_is_made_and_used_and_removed_at_once`, `a_rotation_keeps_the_secret_of_before_for_the_grace`, `the_last_master_key_stays`, `what_is_no_key_is_refused` |
//! | failures are limited, successes never | `failures_are_limited_and_a_valid_key_never_is` |
//! | keys are in no log | `the_key_is_printed_once_and_is_in_no_log` |
//! | **Operations** | `operations` |
//! | live and ready | `the_port_is_open_and_not_ready_while_the_log_is_replayed`, `a_drain_is_told_and_takes_nothing_new` |
//! | metrics | `the_metrics_pass_the_rules_of_prometheus`, `open_metrics_are_served_to_whom_asks`, `what_happens_is_counted`, `the_dashboard_asks_for_figures_that_there_are` |
//! | figures | `the_stats_tell_what_is_so` |
//! | ids, TLS, both versions of HTTP | `a_request_has_an_id`, `http_2_and_tls_are_spoken`, `an_address_that_is_taken_is_named` |
//! | **Problems and the document** | `openapi` |
//! | problem details | `whatever_goes_wrong_is_a_problem`, `every_problem_is_listed` |
//! | OpenAPI | `the_document_is_whole`, `the_page_runs_nothing_but_itself` |
//!
//! # Invariants
//!
//! * Each test has a server of its own, on free ports, in a folder of its own.
//! * A test awaits what it wants to see. Nothing sleeps.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod harness;
mod openapi;
mod operations;
