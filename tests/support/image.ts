/** An image for clients, made here of busybox: a tar file that docker, ctr, podman and buildah load. */
import { makeRootfs } from "./box.ts";

export const IMAGE = "docker.io/library/box:latest";
/** The same, but what it runs stays: for what holds a pod together. */
export const PAUSE = "docker.io/library/pause:latest";

export interface ImageOptions {
  readonly tag?: string;
  readonly command?: readonly string[];
}

/** Writes an archive of one image into a directory. @returns its path */
export async function makeImage(
  directory: string,
  { tag = IMAGE, command = ["sh"] }: ImageOptions = {},
): Promise<string> {
  const name = tag === IMAGE ? "image" : /(\w+):/.exec(tag)![1]!;
  const work = `${directory}/${name}`;
  makeRootfs(`${work}/rootfs`);
  await tar(`${work}/layer.tar`, `${work}/rootfs`, ".");
  const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${work}/layer.tar`));
  const hex = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const config = {
    architecture: Deno.build.arch === "x86_64" ? "amd64" : "arm64",
    os: "linux",
    config: { Env: ["PATH=/bin"], Cmd: command },
    rootfs: { type: "layers", diff_ids: [`sha256:${hex}`] },
    history: [{ created_by: "busybox" }],
  };
  await Deno.writeTextFile(`${work}/config.json`, JSON.stringify(config));
  const manifest = [{ Config: "config.json", RepoTags: [tag], Layers: ["layer.tar"] }];
  await Deno.writeTextFile(`${work}/manifest.json`, JSON.stringify(manifest));
  await tar(`${directory}/${name}.tar`, work, "config.json", "manifest.json", "layer.tar");
  await Deno.remove(work, { recursive: true });
  return `${directory}/${name}.tar`;
}

async function tar(archive: string, directory: string, ...names: string[]): Promise<void> {
  const args = ["-C", directory, "--owner=0", "--group=0", "-cf", archive, ...names];
  const { code } = await new Deno.Command("tar", { args }).output();
  if (code !== 0) throw new Error(`tar ended with ${code}`);
}
