//! Webhooks against a real server: with clients over real QUIC, and a real back end that hears.
//!
//! | what is promised | the test, by file and name |
//! |---|---|
//! | **E1, TokenIM** | |
//! | a callback on a message sent | `tidings`: `a_message_is_told_when_it_was_sent` |
//! | on the start of a session | `tidings`: `sessions_and_conversations_are_told_when_they_start` |
//! | on a user on or off line | `tidings`: `a_peer_is_told_on_and_off_line_with_the_counts_after_the_change` |
//! | on the status of a message: delivered, read with its time, deleted | `tidings`: `a_message_is_told_as_delivered_read_and_recalled_each_with_its_time`, `a_recalled_message_is_told_as_it_was_sent_and_then_as_recalled` |
//! | what is known of the user | `tidings`: `sessions_and_conversations_are_told_when_they_start` (device, flag, address, client) |
//! | POST to the URL that is set, JSON, `application/json` | `pipeline`: `the_settings_and_the_file_name_endpoints_that_are_told_by_post_as_json` |
//! | settable for an app, and by type | `pipeline`: `an_endpoint_hears_what_it_asks_for_and_nothing_else`, `the_settings_and_the_file_name_endpoints_that_are_told_by_post_as_json` |
//! | a connection test | `tidings`: `a_ping_says_whether_the_endpoint_answers_and_tells_nothing` |
//! | a signature that receivers verify; integrity | `tidings`: `every_request_verifies_with_the_published_crate_and_a_changed_one_does_not`, `while_a_secret_is_replaced_both_sign_and_the_old_one_stops_with_its_removal` |
//! | HTTPS | `safety`: `https_is_spoken_to_who_has_a_certificate_of_an_authority_that_is_trusted`, `a_certificate_of_another_authority_or_name_is_refused` |
//! | a version in every callback | `tidings`: `versions_rise_with_every_event_of_an_object` |
//! | durable retries with a timer | `pipeline`: `waits_between_tries_grow`, `a_retry_after_is_honoured`, `every_try_of_a_request_has_the_same_id_and_bytes_and_a_signature_of_its_own_time`, `what_was_not_told_before_a_restart_is_told_after_it` |
//! | errors are handled, with a detailed log | `letters`: `a_refused_batch_is_split_until_the_culprit_stands_alone`, `letters_are_listed_sent_again_and_dropped`, `what_is_not_taken_within_a_day_is_a_dead_letter`; `safety`: `health_figures_and_attempts_tell_how_an_endpoint_does` |
//! | receivers that are slow, or work later | `pipeline`: `a_receiver_that_answers_late_is_waited_for_and_then_tried_again`, `each_conversation_keeps_its_order_at_an_endpoint_that_fails_and_is_slow`, `a_dead_endpoint_changes_nothing_for_sends_and_for_other_endpoints` |
//! | load is spread; much at once | `pipeline`: `requests_are_spread_over_the_urls_of_an_endpoint`, `while_a_conversation_waits_for_its_answer_others_go_on`, `a_batch_is_sent_at_500_events_without_waiting` |
//! | first the state changes, then it is acknowledged | `crash`: `nothing_is_lost_changed_or_out_of_order_whoever_is_killed`; `upstream`: `a_client_hears_nothing_before_the_back_end_has_answered` |
//! | what is stale is purged | `letters`: `an_endpoint_is_removed_with_what_is_kept_for_it`, `a_dead_letter_is_purged_when_it_is_old` |
//! | success and error rates | `safety`: `health_figures_and_attempts_tell_how_an_endpoint_does` |
//! | pushes that follow from presence | `tidings`: `a_push_policy_follows_from_presence_and_what_waits` |
//! | documents with samples in several languages | the README's receivers: the Rust one is compiled with the documentation's tests, `tests/receivers/run` runs those in Python and Node |
//! | a note on firewalls and allow-lists | the README; what the setting allows: `safety`: `only_the_networks_of_the_setting_are_reached` |
//! | little load at the receiver | `pipeline`: `at_low_load_there_is_one_request_for_each_interval` |
//! | **E2, Getui: what the API leaves** | |
//! | a receipt URL is registered; every receipt is forwarded to it | `getui`: `a_receipt_goes_to_the_registered_url_when_a_message_arrives`, `many_receipts_share_a_request_line_by_line` |
//! | the full flow, and the reply | `getui`: `the_full_flow_one_to_back_end_to_the_other_to_receipt_to_back_end_to_the_one` |
//! | upstream | `upstream`: `a_client_hears_of_the_2xx_that_its_message_was_answered_with`, `a_client_hears_that_the_back_end_refuses`, `messages_of_one_client_reach_the_back_end_in_their_order`; `getui`: `a_message_of_a_client_to_the_back_end_is_a_line_of_its_own_action` |
//! | **E3, WuKongIM** | `wukongim` |
//! | POST with `event=` in the query | `the_event_is_in_the_query_beside_what_the_url_has_there` |
//! | `user.onlinestatus`: texts of six parts, read from the right | `a_status_has_flag_session_and_the_counts_after_the_change`, `an_id_with_dashes_is_read_from_the_right` |
//! | device flags, a connection id for each connection, counts by flag and in all | `a_status_has_flag_session_and_the_counts_after_the_change` |
//! | `msg.offline`: the message and `to_uids` | `an_offline_message_is_one_object_with_those_for_whom_it_waits`, `an_offline_message_is_in_an_array_if_that_is_set`, `a_long_list_of_recipients_is_compressed_if_that_is_set` |
//! | `msg.notify`: all messages, in arrays | `all_messages_are_told_in_arrays_with_the_fields_that_are_decoded` |
//! | every 500 ms, or as it is set | `pipeline`: `an_event_waits_for_the_default_interval_of_half_a_second`, `at_low_load_there_is_one_request_for_each_interval` |
//! | the fields of a message | `all_messages_are_told_in_arrays_with_the_fields_that_are_decoded`, `a_message_has_the_next_number_of_its_channel`, `a_group_and_several_peers_are_channels_of_type_2` |
//! | messages are stored whatever the receiver does | `messages_are_stored_whether_the_receiver_takes_them_or_not` |
//! | what its receivers refuse, and verify | `what_the_receiver_cannot_decode_is_a_dead_letter_and_all_else_arrives`, `any_2xx_is_a_success_though_wukongim_takes_only_200`, `octo_server_verifies_every_request` |
//! | **E4, Easemob** | `easemob` |
//! | a message by request, delivered, called back, answered | `the_back_end_asks_for_a_message_the_server_delivers_it_and_calls_back` |
//! | the fields, `chat_offline` and `groupchat` among them | `every_callback_is_one_object_at_the_root_with_its_proof_and_signatures`, `a_message_that_waits_makes_one_callback_for_each_absent_member`, `reads_recalls_groups_and_sessions_have_callbacks_of_their_own` |
//! | bodies of every type, `ext` | `bodies_of_every_type_and_their_ext_are_what_a_receiver_parses` |
//! | the sample receiver, at the root path | `every_callback_is_one_object_at_the_root_with_its_proof_and_signatures`, `a_receiver_that_takes_no_array_never_gets_one_and_an_error_is_tried_again` |
//! | **Where webhooks may not go** | `safety` |
//! | private addresses | `a_private_address_of_version_4_is_refused`, `a_private_address_of_version_6_is_refused`, `a_loopback_address_is_refused` |
//! | mapped ones | `an_address_of_version_4_inside_one_of_version_6_is_refused` |
//! | link-local ones, and those of metadata | `a_link_local_address_is_refused`, `an_address_where_clouds_keep_metadata_is_refused` |
//! | other spellings and other networks | `an_address_that_is_written_in_another_way_is_refused`, `an_address_for_tests_many_or_nobody_is_refused`, `only_http_and_https_without_a_user_can_be_an_endpoint` |
//! | a name that leads to one | `a_name_that_leads_to_a_forbidden_address_is_refused_when_it_is_connected_to` |
//! | a redirect to one | `a_redirect_is_a_failure_and_is_never_followed` |
//! | a name that leads elsewhere after it was checked | in `src/webhook/reaching_tests.rs`, where names can be led: `a_name_leads_only_to_where_webhooks_may_go_whenever_it_is_asked` |
//! | a network that was allowed | `an_endpoint_whose_network_is_not_allowed_any_more_is_halted_and_not_reached` |
//!
//! # Invariants
//!
//! * Each test has a server and receivers of its own, on free ports.
//! * What a receiver decodes is decoded by types of the tests' own.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod easemob;
mod gap;
mod getui;
mod harness;
mod jackson;
mod letters;
mod pipeline;
mod receiver;
mod safety;
mod standard;
mod tangseng;
mod tidings;
mod upstream;
mod wukongim;
