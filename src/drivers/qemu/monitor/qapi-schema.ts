// A QEMU's description of its own monitor: the allowed words of a command's argument.

import type { CommandReturn, Monitor } from "./commands.js";

type Types = ReadonlyMap<string, CommandReturn<"query-qmp-schema">[number]>;

export class Schema {
  readonly #types: Types;
  private constructor(types: Types) {
    this.#types = types;
  }

  /** Reads the schema, about 200 KB. */
  static async read(monitor: Monitor): Promise<Schema> {
    const types = await monitor.execute("query-qmp-schema", {});
    return new Schema(new Map(types.map((type) => [type.name, type])));
  }

  /** Returns the words of an enumeration; undefined when the argument has another type, or does not exist. */
  words(command: string, argument: string): readonly string[] | undefined {
    return this.#types.get(this.#typeOf(command, argument) ?? "")?.values;
  }

  #typeOf(command: string, argument: string): string | undefined {
    const members = this.#types.get(this.#types.get(command)?.["arg-type"] ?? "")?.members;
    const type = members?.find((member) => member["name"] === argument)?.["type"];
    return typeof type === "string" ? type : undefined;
  }
}
