// Random numbers, the balloon, and what a person hands to QEMU past us.

import { idOf } from "../schema/derived-properties.js";
import type { DomainModel } from "../schema/domain.js";
import { onPci } from "./addresses.js";
import { type CommandLine, options } from "./command-line.js";

export function addOthers(line: CommandLine, model: DomainModel): void {
  const { rngs, memballoon } = model.devices;
  if (memballoon?.model === "virtio") {
    line.device(memballoon, "virtio-balloon-pci", {
      id: idOf(memballoon, "balloon0"),
      ...onPci(line, model, memballoon),
      "deflate-on-oom": memballoon.autodeflate,
      "free-page-reporting": memballoon.freePageReporting,
    });
  }
  for (const [index, it] of rngs.entries()) {
    const id = `objrng${index}`;
    const { backend } = it;
    const filename = backend.model === "random" ? (backend.text ?? "/dev/random") : undefined;
    line.host("-object", options(`rng-${backend.model}`, { id, filename }));
    line.device(it, "virtio-rng-pci", {
      id: idOf(it, `rng${index}`),
      rng: id,
      ...onPci(line, model, it),
      "max-bytes": it.rate?.bytes,
      period: it.rate?.period,
    });
  }
}

/** What the launcher and the migration give QEMU themselves. */
const reserved = ["S", "daemonize", "incoming", "loadvm", "name", "only-migratable", "preconfig", "uuid"];

export function addPassthrough(line: CommandLine, { commandline }: DomainModel): void {
  for (const arg of commandline?.args ?? []) {
    const option = /^--?([\w-]+)$/.exec(arg.value)?.[1];
    if (option !== undefined && reserved.includes(option)) {
      line.unsupported(arg, "value", `${arg.value} is given to QEMU by us`, "remove it");
    }
    line.hardware(arg.value);
  }
}
