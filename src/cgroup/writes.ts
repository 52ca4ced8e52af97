/** linux.resources -> what to write into which cgroup file, in order, on either version of cgroups. Pure. */
import type { Resources } from "../spec/schema.ts";
import { writesV1 } from "./v1.ts";
import { writesV2 } from "./v2.ts";
import type { CgroupVersion } from "./paths.ts";

/** One write into a cgroup file. */
export interface CgroupWrite {
  /** "memory"; on v2, where one directory has all controllers, the one that has to be enabled for the file. */
  readonly controller: string;
  readonly file: string;
  /** The file's other name, for kernels that lack the first. */
  readonly otherFile?: string;
  /** What goes into the other file, where that is not the same. */
  readonly otherValue?: string;
  readonly value: string;
  /** Where in config.json the value comes from. */
  readonly path: string;
  /** Error numbers that are no failure: the kernel lacks the file, mostly. */
  readonly tolerate?: readonly number[];
  /** Error numbers after which the write is tried once more when the controller's other values are in place. */
  readonly retryOn?: readonly number[];
  /** Error numbers that pass when the kernel has had a moment: the write is tried again for a while. */
  readonly patientOn?: readonly number[];
}

/**
 * Every value of `resources`, but for device rules, which are no values in files on v2.
 * @throws {RunkError} for what the version has no file for, naming the config path
 */
export const resourceWrites = (version: CgroupVersion, resources: Resources): CgroupWrite[] =>
  version === "v2" ? writesV2(resources) : writesV1(resources);
