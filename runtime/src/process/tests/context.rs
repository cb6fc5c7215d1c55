//! What a child finds when it begins.

use super::*;

async fn asks(host: &Host, what: &str) -> String {
    let (answer, child) = heard(host.start(&format!("ask {what}")).await).await;
    child.watch.ended().await;
    assert_eq!(child.watch.reap(), Status::Exited(0));
    answer
}

#[test]
fn a_child_leads_a_group_and_has_the_null_device_as_stdin() {
    Host::run_both(async |host| {
        let (answer, child) = heard(host.start("ask group").await).await;
        assert_eq!(answer, child.pid.to_string());
        let (answer, child) = heard(host.start("ask pid").await).await;
        assert_eq!(answer, child.pid.to_string());
        let (answer, child) = heard(host.start("ask thread").await).await;
        assert_eq!(answer, child.pid.to_string());
        assert_eq!(asks(host, "stdin").await, "/dev/null");
        assert_eq!(asks(host, "trigger").await, "None");
        assert_eq!(asks(host, "mode").await, host.launcher.mode().to_string());
        assert_eq!(
            asks(host, "args").await,
            format!("{:?}", std::env::args_os().collect::<Vec<_>>())
        );
        assert_eq!(
            asks(host, "trace").await,
            "Err(BrokenPipe)",
            "a broken pipe is an error, not the end"
        );
    });
}

#[test]
fn a_child_has_the_standard_three_its_control_socket_and_the_log_and_no_more() {
    Host::run_both(async |host| {
        // Others live, so that the server has descriptors that are not this child's.
        let (_, _other) = heard(host.start("hello").await).await;
        assert_eq!(asks(host, "fds").await, "[0, 1, 2, 3, 4]");
    });
}

#[test]
fn descriptors_come_with_the_first_message() {
    Host::run_both(async |host| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let child = host.launcher.start(b"pass", &[there.as_fd()], 0).await.unwrap();
        drop(there);
        child.watch.ended().await;
        let mut text = String::new();
        here.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), child.watch.reap()), ("passed", Status::Exited(0)));
    });
}

#[test]
fn a_first_message_that_is_too_long_is_refused() {
    Host::run(StartMode::ForkServer, async |host| {
        let error = host
            .launcher
            .start(&[b'x'; 32 * 1024 + 1], &[], 0)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::TooLarge);
    });
}
