/** The config of a container that exists. */
import { readDocument } from "../bundle/document.ts";
import { readConfig } from "../bundle/open.ts";
import { parseDocument } from "../spec/document.ts";
import type { Spec } from "../spec/schema.ts";
import { bundleOf, type StateRecord } from "../state/record.ts";

/** Reads a container's config, as its bundle has it now; only JSON so far, with the names put right as create did. */
export async function specOf(record: StateRecord): Promise<() => Spec> {
  const names = record.runk?.misspelt ? await import("../spec/letter_case.ts") : undefined;
  return () => {
    const bundle = bundleOf(record);
    const file = record.runk?.config;
    const text = file === undefined ? readConfig(bundle) : readDocument(file);
    const document = parseDocument(text, file ?? `${bundle}/config.json`) as Spec;
    names?.correctNames("spec", document);
    return document;
  };
}
