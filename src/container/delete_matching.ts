/** Deletes many containers at once. */
import { errorChain, RunkError } from "../errors.ts";
import { ids } from "../state/load.ts";
import { deleteContainer } from "./delete.ts";
import type { Runtime } from "./runtime.ts";

/**
 * Deletes every container whose whole id a regular expression matches; one that cannot be deleted does not keep the
 * others.
 * @throws {RunkError} for an expression that is none; naming the containers that stay, and why
 */
export async function deleteMatching(runtime: Runtime, pattern: string, force: boolean): Promise<void> {
  let expression: RegExp;
  try {
    expression = new RegExp(`^(?:${pattern})$`);
  } catch (error) {
    throw new RunkError(`${JSON.stringify(pattern)} is not a regular expression`, { cause: error });
  }
  const failures: string[] = [];
  for (const id of (ids(runtime.root) ?? []).filter((id) => expression.test(id))) {
    try {
      await deleteContainer(runtime, id, { force });
    } catch (error) {
      failures.push(`${id}: ${errorChain(error)}`);
    }
  }
  if (failures.length > 0) throw new RunkError(`not deleted: ${failures.join("; ")}`);
}
