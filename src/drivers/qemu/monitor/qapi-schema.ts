// What a QEMU says of its own monitor: which words an argument of a command may be.

import type { CommandReturn, Monitor } from "./commands.js";

type Types = ReadonlyMap<string, CommandReturn<"query-qmp-schema">[number]>;

export class Schema {
  readonly #types: Types;
  private constructor(types: Types) {
    this.#types = types;
  }

  /** Some 200 KB. */
  static async read(monitor: Monitor): Promise<Schema> {
    const types = await monitor.execute("query-qmp-schema", {});
    return new Schema(new Map(types.map((type) => [type.name, type])));
  }

  /** The words of an enumeration; undefined when it is something else, or not there. */
  words(command: string, argument: string): readonly string[] | undefined {
    return this.#types.get(this.#typeOf(command, argument) ?? "")?.values;
  }

  #typeOf(command: string, argument: string): string | undefined {
    const members = this.#types.get(this.#types.get(command)?.["arg-type"] ?? "")?.members;
    const type = members?.find((member) => member["name"] === argument)?.["type"];
    return typeof type === "string" ? type : undefined;
  }
}
