/** The names of standard input, output and error, by which images know them. */

/** The file beside the images. */
export const DESCRIPTORS = "descriptors.json";

const STDIO = ["0", "1", "2"];

/** What the standard descriptors of a process lead to: "pipe:[123]", "/dev/null"; an empty text for one that is closed. */
export const descriptorsOf = (pid: number | "self"): string[] =>
  STDIO.map((fd) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return "";
    }
  });
