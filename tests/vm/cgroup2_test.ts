/** What needs cgroup v2 alone: run by `deno task test:vm`, and by itself on any such host. */
import "../integration/lifecycle_test.ts";
