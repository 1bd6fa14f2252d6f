// Hosts and guests as whoever empties hosts sees them: plain data, from wherever the embedder has it.

export interface FleetHost {
  readonly name: string;
  /** What guests may have of it. */
  readonly memoryBytes: number;
  readonly cpus: number;
  /** Such as `rack` and `zone`. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface FleetGuest {
  readonly uuid: string;
  readonly name: string;
  readonly host: string;
  readonly memoryBytes: number;
  readonly cpus: number;
  /** Guests of one group are not brought together on one host. */
  readonly group: string | null;
  /** Higher goes first. Default of who builds one: 0. */
  readonly priority: number;
}

export interface Fleet {
  readonly hosts: readonly FleetHost[];
  readonly guests: readonly FleetGuest[];
}

/**
 * The hosts that are meant: by name, or by a label, such as `rack:r1`.
 * @throws Error naming a word that means no host.
 */
export function selectHosts(
  { hosts }: { readonly hosts: readonly Pick<FleetHost, "name" | "labels">[] },
  words: readonly string[],
): readonly string[] {
  const meant = words.flatMap((word) => {
    const [label = "", value] = word.split(/:(.*)/s);
    const found = hosts.filter(({ name, labels }) =>
      value === undefined ? name === word : labels[label] === value,
    );
    if (found.length === 0)
      throw new Error(`"${word}" means no host; give a name, or label:value, such as rack:r1`);
    return found.map((item) => item.name);
  });
  return [...new Set(meant)];
}

/** What a host has to carry, with what is on its way to it. */
export class HostLoad {
  readonly host: FleetHost;
  usedMemoryBytes = 0;
  usedCpus = 0;
  readonly #groups = new Map<string, number>();

  constructor(host: FleetHost) {
    this.host = host;
  }

  add({ memoryBytes, cpus, group }: FleetGuest): void {
    this.usedMemoryBytes += memoryBytes;
    this.usedCpus += cpus;
    if (group !== null) this.#groups.set(group, (this.#groups.get(group) ?? 0) + 1);
  }

  remove({ memoryBytes, cpus, group }: FleetGuest): void {
    this.usedMemoryBytes -= memoryBytes;
    this.usedCpus -= cpus;
    if (group !== null) this.#groups.set(group, (this.#groups.get(group) ?? 1) - 1);
  }

  fits({ memoryBytes, cpus }: FleetGuest): boolean {
    const { host } = this;
    return this.usedMemoryBytes + memoryBytes <= host.memoryBytes && this.usedCpus + cpus <= host.cpus;
  }

  has(group: string | null): boolean {
    return group !== null && (this.#groups.get(group) ?? 0) > 0;
  }
}
