/** In place of a token where a step left a row out. */
export const noToken = 0xffff_ffff;
