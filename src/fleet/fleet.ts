// Hosts and guests of a drain: plain data from any source that the embedder has.

export interface FleetHost {
  readonly name: string;
  /** Memory that guests may use. */
  readonly memoryBytes: number;
  readonly cpus: number;
  /** For example `rack` and `zone`. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface FleetGuest {
  readonly uuid: string;
  readonly name: string;
  readonly host: string;
  readonly memoryBytes: number;
  readonly cpus: number;
  /** Guests of one group are kept on different hosts. */
  readonly group: string | null;
  /** Guests with a higher priority are migrated first. Use 0 as the default. */
  readonly priority: number;
}

export interface Fleet {
  readonly hosts: readonly FleetHost[];
  readonly guests: readonly FleetGuest[];
}

/**
 * Selects hosts by name or by label, such as `rack:r1`.
 * @throws Error naming a selector that matches no host.
 */
export function selectHosts(
  { hosts }: { readonly hosts: readonly Pick<FleetHost, "name" | "labels">[] },
  selectors: readonly string[],
): readonly string[] {
  const selected = selectors.flatMap((selector) => {
    const [label = "", value] = selector.split(/:(.*)/s);
    const found = hosts.filter(({ name, labels }) =>
      value === undefined ? name === selector : labels[label] === value,
    );
    if (found.length === 0)
      throw new Error(`"${selector}" matches no host; use a name, or label:value such as rack:r1`);
    return found.map(({ name }) => name);
  });
  return [...new Set(selected)];
}

/** The load of a host, including guests that are on their way to it. */
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
