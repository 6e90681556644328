//! What a measured series is about: by the whole words of its metric's name, and by a few attributes that are known by their
//! keys.
//!
//! What a sender calls a namespace, a host or a flag says nothing about the measure, so that no other value is looked at.

use super::verdict::SymptomKind;

/// What a series is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Rising is bad, and no callee can cause it.
    Resource,
    /// Rising is bad, and callees may cause it.
    Worse(SymptomKind),
    /// A share of success: falling is bad, and callees may cause it.
    Better,
    /// Calls in some time.
    Traffic,
    /// Says nothing about faults.
    Neutral,
}

/// What the metric of this name says, all of its series together.
pub(super) fn meaning_of(name: &str) -> Meaning {
    let words = Words::of(name);
    if words.any(&["gc"]) {
        // How long a collection takes is no request's time.
        Meaning::Resource
    } else if words.any(&["latency", "latencies", "duration", "durations", "responsetime"])
        || words.pair("response", "time")
    {
        // What a client waits for is another's time.
        let is_other = words.any(&["client", "clients", "outbound", "upstream"]);
        if is_other { Meaning::Neutral } else { Meaning::Worse(SymptomKind::Latency) }
    } else if words.any(&["availability", "apdex"]) || words.begins(&["success"]) {
        // So many successes rise and fall with the requests.
        if words.any(&["total", "count"]) { Meaning::Traffic } else { Meaning::Better }
    } else if words.says_failing() {
        Meaning::Worse(SymptomKind::Errors)
    } else if words.says_resource() && !words.says_unused() {
        Meaning::Resource
    } else if words.any(&["requests", "calls"]) || words.pair("request", "count") {
        Meaning::Traffic
    } else {
        Meaning::Neutral
    }
}

/// What a series of the metric `name` with these attributes says.
pub(super) fn meaning_of_series(name: &str, attributes: &[(String, String)]) -> Meaning {
    let meaning = meaning_of(name);
    let any = |says: fn(&str, &str) -> bool| attributes.iter().any(|(key, value)| says(key, value));
    match meaning {
        Meaning::Traffic if any(says_failed) => Meaning::Worse(SymptomKind::Errors),
        // The way between two is told by the spans at its ends.
        Meaning::Worse(SymptomKind::Latency) if any(|key, _| key == "client") => Meaning::Neutral,
        Meaning::Resource if any(says_unused) => Meaning::Neutral,
        _ => meaning,
    }
}

/// Whether a series of this name tells how much has piled up: it rises for as long as its trouble lasts.
pub(super) fn piles_up(name: &str) -> bool {
    let words = Words::of(name);
    let piles = words.begins(&["queue", "backlog", "memory", "heap", "disk"])
        || words.any(&LAGS)
        || words.says_connections()
        || words.any(&["threads", "nonheap"]);
    piles && !words.is_utilization()
}

/// The least that a series of the metric `name` in this unit can move by, where it counts things that wait, are open or lag
/// behind: one of them. 0 where its levels are no numbers of things.
pub(super) fn grain_of(name: &str, unit: &str) -> f64 {
    let words = Words::of(name);
    let is_of_things = words.begins(&["queue", "backlog"])
        || words.any(&LAGS)
        || words.says_connections()
        || words.any(&["threads"]);
    let is_number = unit.is_empty() || unit == "1" || unit.starts_with('{');
    // Rates, shares and times; and how far a copy lags behind, which is told in time.
    let others =
        ["total", "rate", "ratio", "percent", "pct", "time", "age", "seconds", "ms", "milliseconds", "bytes"];
    let is_other = words.any(&others) || words.begins(&["replica", "replication"]) || words.is_utilization();
    if is_of_things && is_number && !is_other { 1.0 } else { 0.0 }
}

/// So many things are few: next to fewer, growth means nothing.
pub(super) const FEW: f64 = 5.0;

/// Words for how far somebody is behind.
const LAGS: [&str; 5] = ["lag", "lags", "consumerlag", "replicationlag", "replicalag"];

/// The words of a name, in lower case: the parts between anything that is neither letter nor digit, and, within them, what
/// begins with a capital letter.
pub(super) struct Words(Vec<String>);

impl Words {
    /// The words of `name`.
    pub(super) fn of(name: &str) -> Self {
        let mut words = vec![String::new()];
        let mut before = None;
        let mut rest = name.chars().peekable();
        while let Some(letter) = rest.next() {
            let begins = letter.is_uppercase()
                && before.is_some_and(|before: char| {
                    before.is_lowercase() || rest.peek().is_some_and(|next| next.is_lowercase())
                });
            if begins || !letter.is_alphanumeric() {
                words.push(String::new());
            }
            before = letter.is_alphanumeric().then_some(letter);
            if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
                word.extend(letter.to_lowercase());
            }
        }
        words.retain(|word| !word.is_empty());
        Self(words)
    }

    /// Whether one of them is among `known`.
    pub(super) fn any(&self, known: &[&str]) -> bool {
        self.0.iter().any(|word| known.contains(&word.as_str()))
    }

    /// Whether it is about a part of something bounded, 0 to 1.
    pub(super) fn is_utilization(&self) -> bool {
        self.any(&["utilization", "utilisation"])
    }

    /// Whether it is about what requests take while somebody works on them, and give back: more of them take more of it.
    pub(super) fn is_held_by_requests(&self) -> bool {
        let is_held = self.begins(&["cpu"]) || self.any(&["vcpu", "vcpus", "connections", "threads"]);
        let is_wanting = self.any(&["pressure", "backpressure", "saturation"]);
        is_held && !is_wanting && !self.begins(&["throttl", "queue", "memory", "restart"])
    }

    /// Whether one of them begins with one of `known`.
    fn begins(&self, known: &[&str]) -> bool {
        self.0.iter().any(|word| known.iter().any(|known| word.starts_with(*known)))
    }

    /// Whether `first` stands right before `second`.
    fn pair(&self, first: &str, second: &str) -> bool {
        self.0.iter().zip(self.0.iter().skip(1)).any(|(one, other)| one == first && other == second)
    }

    fn ends_with(&self, known: &[&str]) -> bool {
        let skipped = self.0.len().saturating_sub(known.len());
        self.0.len() >= known.len()
            && self.0.iter().skip(skipped).zip(known).all(|(word, known)| word == known)
    }

    fn says_failing(&self) -> bool {
        let failing = ["failure", "failures", "failed", "fails", "fail", "unsuccessful"];
        // A page that has to be fetched is no failure.
        let is_fault = self.any(&["fault", "faults"]) && !self.any(&["page", "pages", "paging"]);
        self.begins(&["error"]) || self.any(&failing) || is_fault
    }

    fn says_resource(&self) -> bool {
        let whole = ["vcpu", "vcpus", "nonheap", "pressure", "backpressure", "saturation", "threads"];
        self.begins(&["cpu", "memory", "throttl", "heap", "disk", "queue", "restart"])
            || self.any(&whole)
            || self.any(&LAGS)
            || self.says_connections()
            || self.is_utilization()
    }

    /// Whether it is about connections that are open or waited for. PostgreSQL has a backend for each.
    fn says_connections(&self) -> bool {
        self.any(&["connections", "numbackends"])
            || self.pair("connection", "count")
            || self.pair("connection", "pending")
            || self.pair("postgresql", "backends")
    }

    /// Whether it is about what is left, or about what may be had.
    fn says_unused(&self) -> bool {
        self.any(&["available", "free", "freeable", "freed"])
            || self.0.iter().any(|word| word.ends_with("idle"))
            || self.pair("limit", "bytes")
            || self.pair("request", "bytes")
    }
}

/// Whether an attribute says that what is counted failed: an error's type, an outcome, or a status of HTTP from 500 on.
fn says_failed(key: &str, value: &str) -> bool {
    let key = Words::of(key);
    if key.ends_with(&["error", "type"]) {
        return !value.is_empty() && !value.eq_ignore_ascii_case("none");
    }
    let is_status = key.ends_with(&["status"]) || key.ends_with(&["status", "code"]);
    if is_status || key.ends_with(&["code"]) {
        let is_code = value.parse::<u16>().is_ok_and(|code| (500..600).contains(&code));
        if is_code || value.eq_ignore_ascii_case("5xx") {
            return true;
        }
    }
    if key.0 == ["error"] {
        return value.eq_ignore_ascii_case("true");
    }
    let ends = ["outcome", "state", "result", "classification"];
    (is_status || ends.iter().any(|end| key.ends_with(&[*end]))) && Words::of(value).says_failing()
}

/// Whether an attribute says that what is measured is what is left of a resource.
fn says_unused(key: &str, value: &str) -> bool {
    let key = Words::of(key);
    (key.ends_with(&["state"]) || key.ends_with(&["mode"])) && Words::of(value).says_unused()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: Meaning = Meaning::Worse(SymptomKind::Errors);
    const LATENCY: Meaning = Meaning::Worse(SymptomKind::Latency);

    #[test]
    fn names_are_divided_into_words() {
        let words = |name| Words::of(name).0.join(" ");
        assert_eq!(words("k8s.pod.cpu_limit-utilization"), "k8s pod cpu limit utilization");
        assert_eq!(words("CpuUsageRate"), "cpu usage rate");
        assert_eq!(words("HTTPServer_5XXErrors/P99Latency:max"), "http server 5xx errors p99 latency max");
        assert_eq!(words("__"), "");
    }

    #[test]
    fn names_have_meanings() {
        for (name, meaning) in [
            ("k8s.pod.cpu_limit_utilization", Meaning::Resource),
            ("CpuUsageRate", Meaning::Resource),
            ("container_memory_usage_bytes", Meaning::Resource),
            ("MemoryUsage", Meaning::Resource),
            ("kafka.consumer.lag", Meaning::Resource),
            ("kafka_consumergroup_lag", Meaning::Resource),
            ("container_cpu_cfs_throttled_periods_total", Meaning::Resource),
            ("jvm.gc.duration", Meaning::Resource),
            ("go_gc_duration_seconds", Meaning::Resource),
            ("QueueDepth", Meaning::Resource),
            ("DatabaseConnections", Meaning::Resource),
            ("postgresql.backends", Meaning::Resource),
            ("pg_stat_database_numbackends", Meaning::Resource),
            ("db.client.connection.count", Meaning::Resource),
            ("db.client.connection.pending_requests", Meaning::Resource),
            ("db.client.connections.usage", Meaning::Resource),
            ("postgresql.connection.max", Meaning::Neutral),
            ("haproxy.backends", Meaning::Neutral),
            ("pod_restart_total", Meaning::Resource),
            ("node.latency.p95", LATENCY),
            ("http_server_duration_p99_ms", LATENCY),
            ("TargetResponseTime", LATENCY),
            ("SuccessfulRequestLatency", LATENCY),
            ("http.client.request.duration", Meaning::Neutral),
            ("node.availability", Meaning::Better),
            ("SuccessRate", Meaning::Better),
            ("frontend.success_ratio", Meaning::Better),
            ("logins_success_total", Meaning::Traffic),
            ("ErrorRate", ERRORS),
            ("HTTPCode_Target_5XX_Errors", ERRORS),
            ("coredns_forward_healthcheck_failures", ERRORS),
            ("pipeline-transformer_endpoint_error_ratio", ERRORS),
            ("UnsuccessfulLogins", ERRORS),
            ("system.paging.faults", Meaning::Neutral),
            ("http_requests_total", Meaning::Traffic),
            ("RequestCount", Meaning::Traffic),
            ("feature_flag.evaluation", Meaning::Neutral),
            ("flagd.impression", Meaning::Neutral),
            ("default_pool_size", Meaning::Neutral),
            ("process.memory.available", Meaning::Neutral),
            ("FreeableMemory", Meaning::Neutral),
            ("orders.sold", Meaning::Neutral),
        ] {
            assert_eq!(meaning_of(name), meaning, "{name}");
        }
    }

    #[test]
    fn attributes_are_read_by_their_keys() {
        for (name, key, value, meaning) in [
            ("http_requests_total", "namespace", "default", Meaning::Traffic),
            ("http_requests_total", "service", "error-reporter", Meaning::Traffic),
            ("http_requests_total", "status", "503", ERRORS),
            ("http_requests_total", "status", "404", Meaning::Traffic),
            ("http_requests_total", "code", "5xx", ERRORS),
            ("http.server.requests", "http.response.status_code", "500", ERRORS),
            ("http.server.requests", "outcome", "SUCCESS", Meaning::Traffic),
            ("http.server.requests", "outcome", "SERVER_ERROR", ERRORS),
            ("app.requests", "outcome", "error", ERRORS),
            ("traces_span_metrics_calls_total", "status_code", "STATUS_CODE_ERROR", ERRORS),
            ("traces_span_metrics_calls_total", "status_code", "STATUS_CODE_UNSET", Meaning::Traffic),
            ("istio_requests_total", "response_code", "503", ERRORS),
            ("app.requests", "result", "error", ERRORS),
            ("app.requests", "error", "true", ERRORS),
            ("app.requests", "error", "false", Meaning::Traffic),
            ("app.requests", "error.type", "java.io.IOException", ERRORS),
            ("app.requests", "error.type", "none", Meaning::Traffic),
            ("jobs.calls", "state", "failed", ERRORS),
            ("http.server.request.duration", "outcome", "SUCCESS", LATENCY),
            ("http.server.request.duration", "client_id", "7", LATENCY),
            ("service.edge.duration", "client", "front", Meaning::Neutral),
            ("system.cpu.utilization", "cpu.mode", "idle", Meaning::Neutral),
            ("system.cpu.utilization", "cpu.mode", "user", Meaning::Resource),
            ("system.memory.usage", "state", "free", Meaning::Neutral),
            ("system.memory.usage", "host", "free-1", Meaning::Resource),
        ] {
            let attributes = [(key.to_owned(), value.to_owned())];
            assert_eq!(meaning_of_series(name, &attributes), meaning, "{name} {key}={value}");
        }
    }

    #[test]
    fn what_requests_hold_is_told_by_its_name() {
        let is_held = |name| Words::of(name).is_held_by_requests();
        for name in
            ["k8s.pod.cpu_limit_utilization", "CpuUsageRate", "jvm.threads.live", "DatabaseConnections"]
        {
            assert!(is_held(name), "{name}");
        }
        for name in
            ["process.memory.usage", "kafka.consumer.lag", "container_cpu_cfs_throttled_periods_total"]
        {
            assert!(!is_held(name), "{name}");
        }
    }

    #[test]
    fn what_piles_up_is_told_by_its_name() {
        for name in ["shop.queue", "kafka.consumer.lag", "process.memory.usage", "jvm.threads.live"] {
            assert!(piles_up(name), "{name}");
        }
        for name in ["feature_flag.evaluation", "k8s.pod.memory_limit_utilization", "orders.sold"] {
            assert!(!piles_up(name), "{name}");
        }
    }

    #[test]
    fn numbers_of_things_have_a_grain() {
        for (name, unit) in [
            ("kafka.consumer_group.lag", "1"),
            ("shop.queue", ""),
            ("QueueDepth", ""),
            ("db.client.connections.usage", "{connection}"),
            ("postgresql.backends", "1"),
        ] {
            assert!(grain_of(name, unit) > 0.0, "{name}");
        }
        for (name, unit) in [
            ("kafka_consumer_lag_seconds", ""),
            ("mysql.replica.lag", ""),
            ("queue.utilization", "1"),
            ("queue.wait", "ms"),
            ("jvm.memory.used", "By"),
            ("system.cpu.utilization", "1"),
            ("k8s.container.restarts", ""),
        ] {
            assert!(grain_of(name, unit) == 0.0, "{name}");
        }
    }
}
