// Network cards, and what they are plugged into.

import { idOf } from "../schema/derived-properties.js";
import type { DomainModel } from "../schema/domain.js";
import type { NetworkInterface } from "../schema/network.js";
import { onPci } from "./addresses.js";
import { type CommandLine, options } from "./command-line.js";

const drivers = { virtio: "virtio-net-pci", e1000: "e1000", e1000e: "e1000e", rtl8139: "rtl8139" } as const;

export function addInterfaces(
  line: CommandLine,
  model: DomainModel,
  order: ReadonlyMap<object, number>,
): void {
  const macs = new Set<string>();
  for (const [index, it] of model.devices.interfaces.entries()) {
    const netdev = `hostnet${index}`;
    line.host("-netdev", backendOf(it, netdev));
    const mac = it.mac?.address;
    if (it.mac !== undefined && mac !== undefined && macs.has(mac)) {
      line.conflict(it.mac, "address", "another interface has it", "give each its own");
    }
    macs.add(mac ?? "");
    line.device(it, drivers[it.model?.type ?? "rtl8139"], {
      id: idOf(it, `net${index}`),
      netdev,
      mac,
      ...onPci(line, model, it),
      bootindex: order.get(it),
    });
  }
}

function backendOf(network: NetworkInterface, id: string): string {
  switch (network.type) {
    case "user":
      return options("user", { id });
    case "ethernet":
      return options("tap", { id, ifname: network.target?.dev, script: "no", downscript: "no" });
    case "bridge":
      return options("bridge", { id, br: network.source.bridge });
  }
}
