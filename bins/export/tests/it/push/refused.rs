//! What the hub refuses, and what is refused before it is asked.

use super::*;

#[test]
fn without_the_flag_or_a_token_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let hub = hub(&store, None, |_, _| None);
    let out = dir.path().join("out");
    assert!(export(&hub.address, &out, &[], true).status.success());
    let out = dir.path().join("none");
    let done = export(&hub.address, &out, &PUSH, false);
    assert_eq!(done.status.code(), Some(2));
    assert!(said(&done).contains("HF_TOKEN"), "{}", said(&done));
    assert!(!out.exists(), "it is told before anything is written");
    for words in [
        &["--private"][..],
        &["--push-to-hub", "mine"],
        &["--hub-url", "x"],
    ] {
        assert_eq!(
            export(&hub.address, &out, words, true).status.code(),
            Some(2)
        );
    }
    assert_eq!(hub.lines().len() + store.lines().len(), 0);
    // The file that `hf auth login` leaves is as good, and so is a hub that is named.
    let home = dir.path().join("hf-home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("token"), TOKEN).unwrap();
    let words = [&PUSH[..], &["--hub-url", &hub.address]].concat();
    let done = export("http://127.0.0.1:9", &out, &words, false);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(
        hub.asked()[0].headers["authorization"],
        format!("Bearer {TOKEN}")
    );
}

#[test]
fn every_no_is_told_with_its_reason_and_what_to_do() {
    for (path, status, told) in [
        ("/api/", 401, "HF_TOKEN"),
        ("/api/", 403, "may not write"),
        ("/api/models/me/mine/preupload", 404, "no such repository"),
        ("/me/mine.git", 403, "may not write"),
        ("/verify", 400, "verifying adapter_model.safetensors"),
        ("/api/models/me/mine/tree", 404, "no such repository"),
        ("/api/models/me/mine/commit", 409, "somebody else"),
        ("/api/models/me/mine/commit", 503, "the hub has a problem"),
    ] {
        let (done, lines) = answered(path, status, usize::MAX);
        let text = said(&done);
        assert_eq!(done.status.code(), Some(1), "{path}: {text}");
        for part in [
            told,
            "for a reason",
            &status.to_string(),
            "is not on the hub",
        ] {
            assert!(text.contains(part), "{path}: {part}: {text}");
        }
        let commits = lines
            .iter()
            .filter(|line| line.contains("/commit/"))
            .count();
        assert!(commits <= 1, "a commit is never asked for twice: {lines:?}");
        assert_eq!(commits == 1, path.ends_with("commit"), "{lines:?}");
    }
}

#[test]
fn private_is_refused_before_an_upload_where_the_repository_is_public() {
    for (create, status) in [("exists", 409), ("may not create", 403)] {
        for (private, code) in [(json!(true), 0), (json!(false), 2), (Value::Null, 1)] {
            let dir = tempfile::tempdir().unwrap();
            let store = store();
            let seen = private.clone();
            let hub = hub(&store, None, move |asked, _| match asked.line().as_str() {
                "POST /api/repos/create" => Some(no(status, create)),
                "GET /api/models/me/mine" => Some(yes(&json!({"private": seen}))),
                _ => None,
            });
            let out = dir.path().join("out");
            let words = [&PUSH[..], &["--private"]].concat();
            let done = export(&hub.address, &out, &words, true);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(code), "{private}: {text}");
            if code == 0 {
                continue;
            }
            assert_eq!(hub.lines().len(), 2, "nothing is sent: {:?}", hub.lines());
            let told = ["--private does not change it", "does not say"][usize::from(code == 1)];
            assert!(text.contains(told), "{text}");
            assert_eq!(store.lines().len(), 0);
        }
    }
}

#[test]
fn an_adapter_that_names_a_place_on_this_machine_is_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let hub = hub(&store, None, |_, _| None);
    let adapter = dir.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    let from = fixture("goldens/lora_trace/final_adapter");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(format!("{from}/{name}"), adapter.join(name)).unwrap();
    }
    let name_base = |base: &str| {
        let path = adapter.join("adapter_config.json");
        let text = std::fs::read(&path).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["base_model_name_or_path"] = base.into();
        std::fs::write(&path, config.to_string()).unwrap();
    };
    let own = adapter.display().to_string();
    for base in [
        fixture("tiny-model").as_str(),
        "/home/me/models/gone",
        "./models/tiny",
        "base.gguf",
    ] {
        name_base(base);
        for format in ["peft", "mlx"] {
            let out = dir.path().join(format);
            let words = ["--adapter-dir", &own, "--format", format];
            let done = export_of(&hub.address, &out, &[&words[..], &PUSH].concat(), true);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(2), "{base}: {text}");
            assert!(text.contains("--base-model OWNER/NAME"), "{text}");
            assert!(!out.join("adapter_config.json").exists());
        }
    }
    name_base("someone/their-model");
    let out = dir.path().join("good");
    let words = [&["--adapter-dir", &own, "--format", "peft"][..], &PUSH].concat();
    assert!(hub.lines().is_empty(), "nothing was sent until now");
    let done = export_of(&hub.address, &out, &words, true);
    assert!(done.status.success(), "{}", said(&done));

    let out = dir.path().join("modelfile");
    let words = [
        "--adapter-dir",
        &own,
        "--format",
        "gguf-adapter",
        "--modelfile",
    ];
    let before = hub.lines().len();
    let done = export_of(&hub.address, &out, &[&words[..], &PUSH].concat(), true);
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("leave --modelfile out"));
    assert_eq!(hub.lines().len(), before);
}

#[test]
fn a_repository_that_has_moved_is_told_and_nobody_follows() {
    let other = store();
    for path in [
        "/api/repos/create",
        "/api/models/me/mine/preupload",
        "/api/models/me/mine/tree",
        "/verify",
        "/api/models/me/mine/commit",
    ] {
        for status in [301, 302, 307, 308] {
            let dir = tempfile::tempdir().unwrap();
            let store = store();
            let to = format!("location: {}/api/elsewhere?signature=s\r\n", other.address);
            let hub = hub(&store, None, move |asked, _| {
                let matches = asked.path.starts_with(path);
                matches.then(|| (status, to.clone(), "{}".to_owned()))
            });
            let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(1), "{path} {status}: {text}");
            let told = text.contains("it has moved: give the repository's present name");
            assert!(told && !text.contains("signature"), "{text}");
            let lines = hub.lines();
            let asked = lines.iter().filter(|line| line.contains(path));
            assert_eq!(asked.count(), 1, "{lines:?}");
        }
    }
    // A store that leads elsewhere has not stored anything.
    let to = format!("location: {}/x?signature=s\r\n", other.address);
    let leads =
        Server::new(|_| Box::new(move |_: &Asked, _: &[Asked]| (307, to.clone(), String::new())));
    let hub = hub(&leads, None, |_, _| None);
    let dir = tempfile::tempdir().unwrap();
    let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(said(&done).contains("is not followed"), "{}", said(&done));
    assert_eq!((leads.lines().len(), other.lines().len()), (1, 0));
}

#[test]
fn an_address_that_is_none_is_refused_once_and_its_query_is_not_told() {
    for href in [
        "/upload/x?signature=s",
        "x?signature=s",
        "ftp://127.0.0.1/x?signature=s",
        "http:///x?signature=s",
        "http://127.0.0.1/a b?signature=s",
        "?signature=s",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = store();
        let hub = hub(&store, None, move |asked, _| {
            if !asked.path.ends_with("/objects/batch") {
                return None;
            }
            let object = asked.json()["objects"][0].take();
            let actions = json!({"upload": {"href": href}});
            let object = json!({"oid": object["oid"], "actions": actions});
            Some(yes(&json!({"objects": [object]})))
        });
        let begun = std::time::Instant::now();
        let done = export(&hub.address, &dir.path().join("out"), &PUSH, true);
        let text = said(&done);
        assert_eq!(done.status.code(), Some(1), "{href}: {text}");
        assert!(
            text.contains("no whole http or https one"),
            "{href}: {text}"
        );
        assert!(!text.contains("signature"), "{text}");
        // Five more tries would last 23 seconds.
        assert!(begun.elapsed().as_secs() < 15, "{href}");
        assert!(!hub.lines().iter().any(|line| line.contains("/commit/")));
    }
}
