// Converts a domain to a QEMU command line for the capabilities of the binary, and creates the directories that QEMU needs in
// the daemon's run directory.

import { chown, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { gatherQemuFacts, type QemuFacts } from "../../drivers/domain-xml/checks/host-facts.js";
import type { Domain } from "../../drivers/domain-xml/domain.js";
import { type BuiltQemu, binaryOf, buildQemu } from "../../drivers/domain-xml/qemu-args/build.js";
import { DomainXmlError } from "../../drivers/domain-xml/xml/errors.js";
import { killByArgument } from "../../drivers/platform/procfs.js";
import type { Hosting } from "../../drivers/qemu/process/spec.js";
import type { Clock } from "../../effects/ports.js";
import { libvirtError } from "../rpc/errors.js";

/** Directory prefix of QEMUs without a guest, which are started only to query their capabilities. */
const factsPrefix = "facts-";
/** Directory prefix of tunnel sockets, by which a QEMU connects to a tunnel through this process. */
export const tunnelPrefix = "out-";

export interface QemuBuilderOptions {
  readonly runDirectory: string;
  readonly hosting: Hosting;
  readonly clock: Clock;
}

export class QemuBuilder {
  readonly #options: QemuBuilderOptions;
  readonly #facts = new Map<string, Promise<QemuFacts>>();

  constructor(options: QemuBuilderOptions) {
    this.#options = options;
  }

  /** @throws LibvirtError CONFIG_UNSUPPORTED listing everything that is not supported. */
  async build(domain: Domain): Promise<BuiltQemu> {
    const { kvm } = await this.factsOf(binaryOf(domain.model));
    try {
      return buildQemu(domain, { kvm, directory: await this.#channelDirectory() });
    } catch (error) {
      throw error instanceof DomainXmlError
        ? libvirtError("CONFIG_UNSUPPORTED", error.message, { cause: error })
        : error;
    }
  }

  /** Queried once per binary. */
  factsOf(binary: string): Promise<QemuFacts> {
    let facts = this.#facts.get(binary);
    if (facts === undefined) {
      const { clock, hosting, runDirectory } = this.#options;
      const directory = join(runDirectory, `${factsPrefix}${this.#facts.size}`);
      const { sandbox, user } = hosting;
      facts = gatherQemuFacts(binary, { clock, directory, hosting: { sandbox, user } });
      this.#facts.set(binary, facts);
      facts.catch(() => this.#facts.delete(binary));
    }
    return facts;
  }

  /** The directory for channel sockets. A QEMU with its own user cannot create them in the daemon's directory. */
  async #channelDirectory(): Promise<string> {
    const { runDirectory, hosting } = this.#options;
    if (hosting.user === undefined) return runDirectory;
    const directory = join(runDirectory, "channels");
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chown(directory, hosting.user.uid, hosting.user.gid);
    return directory;
  }
}

/** Removes the leftovers of a daemon that was killed while it queried a QEMU or served a tunnel. */
export async function removeLeft(runDirectory: string): Promise<void> {
  for (const name of await readdir(runDirectory)) {
    if (![factsPrefix, tunnelPrefix].some((prefix) => name.startsWith(prefix))) continue;
    const directory = join(runDirectory, name);
    killByArgument(`${directory}/`);
    await rm(directory, { recursive: true, force: true });
  }
}
