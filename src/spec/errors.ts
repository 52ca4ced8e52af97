/** What is wrong with a document. */
import { RunkError } from "../errors.ts";

/** One wrong value: where (JSON pointer), what was expected, what is there. */
export interface Issue {
  readonly path: string;
  readonly expected: string;
  readonly got: string;
}

/** A document that is not JSON, or not what the specification asks for. */
export class SpecError extends RunkError {
  override name = "SpecError";
  readonly issues: readonly Issue[];

  constructor(message: string, issues: readonly Issue[] = []) {
    super(message);
    this.issues = issues;
  }
}

/** A document with members whose names have other letters than the specification's, like "CPU". */
export class MisspeltError extends SpecError {
  override name = "MisspeltError";
}

/** Refuses a config. @throws {RunkError} that ends with the place in it, always */
export function wrong(message: string, path: string): never {
  throw new RunkError(`${message} [config.json ${path}]`);
}
