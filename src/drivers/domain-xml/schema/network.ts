// Network interfaces: the guest's card, and its host backend.

import {
  element,
  elementBy,
  exactlyOne,
  guest,
  host,
  idle,
  type Model,
  needed,
  one,
  optional,
} from "../xml/table.js";
import { mac, text, word } from "../xml/values.js";
import { alias, boot, pciAddress } from "./address.js";

const deviceName = text("a name of up to 15 letters, digits, dots, dashes", /^[A-Za-z\d][\w.-]{0,14}$/);

export const cardMac = element({ address: needed(mac, guest("-device mac")) });
export const cardModel = element({
  type: needed(word("virtio", "e1000", "e1000e", "rtl8139"), guest("-device")),
});

export const networkInterface = elementBy(
  "type",
  host("-netdev user, tap or bridge"),
  {
    user: {},
    ethernet: {
      target: one(
        element({
          dev: needed(deviceName, host("-netdev tap,ifname")),
          managed: optional(word("no", "yes"), idle("QEMU creates the tap when it does not exist")),
        }),
      ),
    },
    bridge: {
      source: exactlyOne(
        element({ bridge: needed(deviceName, host("-netdev bridge,br, through QEMU's bridge helper")) }),
      ),
    },
  },
  {
    mac: one(cardMac),
    model: one(cardModel),
    link: one(element({ state: needed(word("up"), idle("a link is up at start")) })),
    boot: one(boot),
    address: one(pciAddress),
    alias: one(alias),
  },
);
export type NetworkInterface = Model<typeof networkInterface>;
