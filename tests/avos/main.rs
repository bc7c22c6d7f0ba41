//! What AVOS Cloud's realtime did, line by line, through the client library on a real server
//! process.
//!
//! | what it did | the test, by file and name |
//! |---|---|
//! | **Sessions** | `sessions` |
//! | a peer's id is the app's | `a_peer_id_is_whatever_the_app_chooses` |
//! | one peer on many devices | `one_peer_is_open_on_many_devices_and_all_get_its_messages` |
//! | many peers on one device | `many_peers_share_one_device` |
//! | open with the first watch list | `open_takes_the_first_watch_list_and_tells_who_is_online` |
//! | close is log out | `close_is_log_out_and_nothing_more_arrives` |
//! | pause, resume, send again | `a_lost_network_pauses_and_resumes_by_itself_and_what_was_unsent_arrives`, `a_crash_of_the_server_pauses_and_resumes_and_what_was_unsent_arrives` |
//! | watch and unwatch, one or many | `watch_and_unwatch_one_or_many_at_any_time`, `a_watch_and_an_unwatch_outlive_a_lost_connection` |
//! | notices of online and offline | `watchers_hear_of_online_and_offline_once_each`, `a_session_that_is_dropped_counts_as_online_for_a_grace`, `a_reconnection_within_the_grace_is_silent`, `a_device_that_opens_again_is_silent_to_watchers` |
//! | send to the watched, receive from anyone | `sending_needs_a_watch_only_where_signatures_are_enforced_and_receiving_never` |
//! | status without watching | `status_answers_without_watching` |
//! | presence over a crash | `presence`: `after_a_crash_who_does_not_come_back_is_told_offline_once_and_who_does_is_silent`, `a_watcher_that_comes_back_late_hears_what_has_changed_once`, `who_comes_back_with_another_device_is_not_told_offline` |
//! | **Messages** | `messages` |
//! | to one or several peers | `a_message_reaches_one_or_several_peers` |
//! | text of 5 KB, the rest is the app's | `text_up_to_5_kb_and_one_byte_over_is_refused` |
//! | transient or kept | `transient_messages_reach_who_is_online_and_are_never_kept` |
//! | offline: 7 days, 50 messages | `the_newest_50_of_7_days_wait`, `what_waits_for_longer_than_the_window_is_given_up_and_that_is_told` |
//! | the server's time | `every_message_carries_the_servers_time` |
//! | sent or failed | `a_sent_message_is_confirmed_and_one_that_is_not_fails`, `a_message_that_is_confirmed_is_there_after_a_kill` |
//! | media by URL | `media_go_by_url` |
//! | delivered and read | `receipts`: `a_delivery_is_told_to_whom_asked_for_it`, `a_delivery_is_asked_for_of_single_peers_only`, `what_is_read_is_told_to_the_others_and_to_the_peers_own_other_devices`, `an_absent_sender_finds_the_marks_when_it_opens_again`, `what_a_peer_has_read_is_found_by_its_other_devices_when_they_open` |
//! | recall | `receipts`: `a_message_is_recalled_within_the_time`, `only_the_sender_recalls_and_nobody_after_the_time`, `a_recall_is_not_undone_by_a_crash`, `a_group_message_is_recalled_for_all_members` |
//! | a peer's own devices | `devices`: `what_one_device_sends_the_others_see_as_their_own`, `what_one_device_sends_to_a_group_the_others_see_as_their_own`, `an_own_message_never_waits_for_a_device_that_was_away`, `a_peer_lists_its_devices_and_what_they_are`, `a_device_over_the_limit_takes_the_place_of_the_oldest`, `the_same_device_opened_again_replaces_the_older_session`, `a_device_without_an_id_is_given_one_to_keep` |
//! | **Groups** | `groups` |
//! | create and join, join by id | `a_group_is_created_without_an_id_and_joined_by_its_id` |
//! | leave, and members are told | `members_are_told_who_joins_and_who_leaves` |
//! | invite and kick, and they are told | `invited_and_kicked_peers_are_told_and_so_are_the_members` |
//! | send and its confirmation | `a_group_message_reaches_every_member_and_is_confirmed` |
//! | transient | `a_transient_group_message_reaches_members_who_are_online` |
//! | the list of members, further columns | `the_member_list_and_the_metadata_are_read_from_the_group` |
//! | rights; an edit is no join or leave | `the_metadata_is_edited_by_whom_the_rules_name_and_that_changes_no_members`, `who_may_invite_and_kick_is_a_rule_of_the_group`, `a_group_takes_as_many_members_as_is_set` |
//! | a member for good | `an_absent_member_finds_what_happened_in_the_group`, `a_member_stays_one_across_sessions_and_a_crash` |
//! | open groups | `an_open_group_has_a_count_and_transient_messages_only`, `a_session_is_in_one_open_group_at_a_time`, `a_session_is_in_its_open_group_again_after_a_crash` |
//! | **Security** | `security` |
//! | enforced or optional | `signatures_are_optional_or_enforced_or_off`, `a_session_without_a_signer_ends_when_signatures_become_enforced` |
//! | what is signed and what is not | `open_watch_join_invite_and_kick_are_signed_and_leave_unwatch_and_close_are_not`, `each_request_that_is_signed_is_refused_with_a_wrong_signature` |
//! | the formulas | `the_formula_is_the_one_of_the_published_samples`, `a_signature_holds_for_what_was_signed_and_nothing_else`, `a_stale_signature_is_refused_and_seconds_and_milliseconds_are_both_understood`, `a_nonce_is_used_once_also_after_a_crash` |
//! | a remote signer; open again | `a_session_reopens_with_its_watch_list_and_a_fresh_signature_after_a_crash` |
//! | the blacklist | `a_signer_that_shrinks_the_list_is_the_blacklist` |
//! | keys | `the_previous_key_is_good_until_its_time` |
//! | one app | `another_app_is_refused_and_so_is_none` |
//! | bots | `a_bot_is_a_client_that_signs_for_itself` |
//! | **History** | `history` |
//! | by conversation, its id | `a_conversation_has_the_id_that_avos_computes`, `history_is_read_newest_first_in_pages_before_an_id`, `a_page_of_long_messages_ends_where_a_frame_does` |
//! | by group id | `the_history_of_a_group_is_read_by_its_id` |
//! | of one's own | `a_peer_reads_only_what_it_took_part_in` |
//! | unread | `unread_messages_are_counted_for_each_conversation` |
//! | recalled | `a_recalled_message_is_a_tombstone_in_the_history` |
//!
//! # Invariants
//!
//! * The server is the binary, with a folder and a port of its own for each test; a crash is
//!   SIGKILL.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod devices;
mod groups;
mod harness;
mod history;
mod messages;
mod presence;
#[path = "../it/proxy.rs"]
mod proxy;
mod receipts;
mod security;
mod sessions;
