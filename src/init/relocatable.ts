/** A plan as machine data, but for the names in it: what assemble.ts makes and link.ts completes. */
export interface Relocatable {
  /** The executable without the texts below. */
  readonly image: Uint8Array<ArrayBuffer>;
  /** Texts with parameters, to be appended to the image. */
  readonly texts: readonly string[];
  /** Indices of those texts that are pieces of JSON. */
  readonly json: readonly number[];
  /** Places that take a text's address: offset in the image, index of the text, bytes to add; three numbers each. */
  readonly addresses: readonly number[];
  /** Places that take a text's length in bytes: offset in the image, index of the text; two numbers each. */
  readonly sizes: readonly number[];
  /** Input slots: name -> offset in the image. */
  readonly inputs: Readonly<Record<string, number>>;
  /** Address of the first byte behind the image's constants. */
  readonly end: number;
  /** The plan's messages in the order of their numbers; `asks`: the executor waits for an answer. */
  readonly messages: readonly { readonly name: string; readonly asks: boolean }[];
}
