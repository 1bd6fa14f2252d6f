// In a browser, what drivers/platform/checked-lines.ts wants of node:zlib.

import { str } from "crc-32";

export const crc32 = (text: string): number => str(text) >>> 0;
