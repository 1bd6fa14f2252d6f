// Random number generators, the balloon, and raw QEMU pass-through arguments.

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
  for (const [index, rng] of rngs.entries()) {
    const id = `objrng${index}`;
    const { backend } = rng;
    const filename = backend.model === "random" ? (backend.text ?? "/dev/random") : undefined;
    line.host("-object", options(`rng-${backend.model}`, { id, filename }));
    line.device(rng, "virtio-rng-pci", {
      id: idOf(rng, `rng${index}`),
      rng: id,
      ...onPci(line, model, rng),
      "max-bytes": rng.rate?.bytes,
      period: rng.rate?.period,
    });
  }
}

/** Options that the launcher and the migration set themselves. */
const reserved = ["S", "daemonize", "incoming", "loadvm", "name", "only-migratable", "preconfig", "uuid"];

export function addPassthrough(line: CommandLine, { commandline }: DomainModel): void {
  for (const arg of commandline?.args ?? []) {
    const option = /^--?([\w-]+)$/.exec(arg.value)?.[1];
    if (option !== undefined && reserved.includes(option)) {
      line.unsupported(arg, "value", `switchover sets ${arg.value} itself`, "remove it");
    }
    line.hardware(arg.value);
  }
}
