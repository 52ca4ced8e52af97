/** Docker with --userns-remap: the same commands with runc and with runk. */
import { newId } from "../support/box.ts";
import { ClientHost, Docker } from "../support/hosts.ts";
import { compareSides } from "../support/side_by_side.ts";
import { test } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "file:/usr/sbin/dockerd", "command:containerd", "command:runc"] as const;
const FILES = ["/etc/subuid", "/etc/subgid"];
const RUN = "docker run --runtime $RUNTIME --network none";

/** Gives an ordinary user of every machine a range of ids, and takes it away again. */
async function withRange(user: string, body: () => Promise<void>): Promise<void> {
  const line = `${user}:3000000:65536\n`;
  const mark = `# ${newId()}\n`;
  const read = (file: string) => Deno.readTextFile(file).catch(() => "");
  for (const file of FILES) await Deno.writeTextFile(file, mark + line, { append: true });
  try {
    await body();
  } finally {
    for (const file of FILES) await Deno.writeTextFile(file, (await read(file)).replace(mark + line, ""));
  }
}

test(
  "docker: with --userns-remap root inside is no one outside, and everything else is as ever",
  NEEDS,
  () =>
    withRange("daemon", async () => {
      const docker = await ClientHost.with((host) => Docker.start(host, { options: ["--userns-remap=daemon"] }));
      try {
        await compareSides(
          [
            { sh: `${RUN} --rm box cat /proc/self/uid_map /proc/self/gid_map`, expect: /^\s+0\s+3000000\s+65536$/m },
            { sh: `${RUN} --rm -u 1000:1000 --tmpfs /t box sh -c 'id -u; touch /t/x /root/x'`, status: 1 },
            {
              sh:
                `${RUN} --rm -v /data --device /dev/fuse box sh -c 'touch /data/x; ls -ln /data; ls -l /dev/fuse /dev/null | wc -l'`,
            },
            { sh: `${RUN} --rm --read-only --cap-add SYS_TIME --pids-limit 50 -m 64m box grep Cap /proc/self/status` },
            { sh: `${RUN} -d --name $N box sleep 100`, compare: "stdout" },
            {
              sh: "awk '/^Uid/ { print $2 }' /proc/$(docker inspect -f '{{.State.Pid}}' $N)/status",
              expect: /^3000000$/m,
            },
            { sh: "docker exec $N sh -c 'id -u; cat /proc/self/uid_map'", expect: /^0$/m },
            { sh: `${RUN} --rm --userns=host box cat /proc/self/uid_map`, expect: /4294967295/ },
            { sh: `script -qefc "${RUN} --rm -it box tty" /dev/null </dev/null`, expect: /\/dev\/pts\/0/ },
            { sh: "docker rm -f $N", compare: "nothing" },
          ],
          docker.side("runc"),
          docker.side("runk"),
        );
      } finally {
        await docker.stop();
      }
    }),
);
