// Network interfaces and their host backends.

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
  for (const [index, card] of model.devices.interfaces.entries()) {
    const netdev = `hostnet${index}`;
    line.host("-netdev", backendOf(card, netdev));
    const mac = card.mac?.address;
    if (card.mac !== undefined && mac !== undefined && macs.has(mac)) {
      line.conflict(
        card.mac,
        "address",
        "another interface has this MAC address",
        "give each interface its own",
      );
    }
    macs.add(mac ?? "");
    line.device(card, drivers[card.model?.type ?? "rtl8139"], {
      id: idOf(card, `net${index}`),
      netdev,
      mac,
      ...onPci(line, model, card),
      bootindex: order.get(card),
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
