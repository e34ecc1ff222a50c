// What the explorer draws, from maps of one byte a token or cell. `cut` and `paint` do what
// conceptattention_core/explore.py does, in the same order and in double precision: the mask on the screen is the mask
// of the node, to the pixel.

/** For each pixel of a side: the token before it, the one behind it, and how far it is between them. */
function places(side, covered, count) {
  const before = new Int32Array(side), behind = new Int32Array(side), between = new Float64Array(side);
  for (let at = 0; at < side; at++) {
    const source = Math.max(((at + 0.5) * count) / covered - 0.5, 0);
    before[at] = Math.min(Math.floor(source), count - 1);
    behind[at] = Math.min(before[at] + 1, count - 1);
    between[at] = source - before[at];
  }
  return { before, behind, between };
}

/** A map in pixels, 0..255 as doubles. about: {grid: [h, w], covered: [H, W]} at size [H, W]. */
export function enlarged(map, { grid, covered }, [height, width]) {
  const rows = places(height, covered[0], grid[0]), columns = places(width, covered[1], grid[1]);
  const out = new Float64Array(height * width);
  for (let y = 0; y < height; y++) {
    const top = rows.before[y] * grid[1], bottom = rows.behind[y] * grid[1], low = rows.between[y];
    for (let x = 0; x < width; x++) {
      const left = columns.before[x], right = columns.behind[x], high = columns.between[x];
      const upper = map[top + left] * (1 - high) + map[top + right] * high;
      const lower = map[bottom + left] * (1 - high) + map[bottom + right] * high;
      out[y * width + x] = upper * (1 - low) + lower * low;
    }
  }
  return out;
}

/** The mask of a concept, one byte a pixel: where its share reaches the threshold 0..1, and is not nothing. */
export function cut(map, threshold, about, size) {
  const values = enlarged(map, about, size), mask = new Uint8Array(values.length), least = threshold * 255;
  for (let at = 0; at < mask.length; at++) mask[at] = values[at] >= least && values[at] > 0 ? 1 : 0;
  return mask;
}

/** Strokes on a mask, in their order: round brushes along lines. Changes the mask. */
export function paint(mask, [height, width], strokes) {
  for (const stroke of strokes) {
    const radius = stroke.radius * width;
    const points = stroke.points.map(([x, y]) => [x * width, y * height]);
    points.forEach(([x0, y0], index) => {
      const [x1, y1] = points[Math.min(index + 1, points.length - 1)];
      const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius));
      const right = Math.min(width, Math.ceil(Math.max(x0, x1) + radius) + 1);
      const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
      const bottom = Math.min(height, Math.ceil(Math.max(y0, y1) + radius) + 1);
      const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          const x = column + 0.5, y = row + 0.5;
          const part = length > 0 ? ((x - x0) * dx + (y - y0) * dy) / length : 0;
          const along = Math.min(Math.max(part, 0), 1);
          const offX = x - (x0 + along * dx), offY = y - (y0 + along * dy);
          if (offX * offX + offY * offY <= radius * radius) mask[row * width + column] = stroke.add ? 1 : 0;
        }
      }
    });
  }
  return mask;
}

/** White where the mask is, black elsewhere. */
export function maskPicture(mask, [height, width]) {
  const image = new ImageData(width, height);
  for (let at = 0; at < mask.length; at++) {
    image.data.fill(mask[at] ? 255 : 0, at * 4, at * 4 + 3);
    image.data[at * 4 + 3] = 255;
  }
  return image;
}

/** A concept's share in heat colours over the picture: the surer, the more opaque. */
export function heatPicture(map, about, [height, width], heat, opaque) {
  const values = enlarged(map, about, [height, width]), image = new ImageData(width, height);
  for (let at = 0; at < values.length; at++) {
    const level = Math.round(values[at]) * 3;
    image.data.set(heat.slice(level, level + 3), at * 4);
    image.data[at * 4 + 3] = opaque ? 255 : 40 + 0.75 * values[at];
  }
  return image;
}

/** Each place in the colour of its strongest concept; background concepts let the picture through. */
export function winnersPicture(maps, about, [height, width], colors, named) {
  const image = new ImageData(width, height);
  const best = new Float64Array(height * width).fill(-1), winner = new Uint8Array(height * width);
  maps.forEach((map, concept) => {
    const values = enlarged(map, about, [height, width]);
    for (let at = 0; at < values.length; at++) {
      if (values[at] > best[at]) { best[at] = values[at]; winner[at] = concept; }
    }
  });
  for (let at = 0; at < winner.length; at++) {
    image.data.set(colors[winner[at]], at * 4);
    image.data[at * 4 + 3] = winner[at] < named ? 165 : 60;
  }
  return image;
}

/** The outline of a mask, in pixels of the picture, two of them wide: [x, y] of each. */
export function outline(mask, [height, width]) {
  const edge = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if ((x + 1 < width && mask[at] !== mask[at + 1]) || (y + 1 < height && mask[at] !== mask[at + width])) {
        edge.push([x, y]);
      }
    }
  }
  return edge;
}

/** The share of every concept at a place given in parts of the picture, 0..1 each. */
export function sharesAt(maps, { grid, covered }, [height, width], x, y) {
  const row = Math.min(grid[0] - 1, Math.floor((y * height * grid[0]) / covered[0]));
  const column = Math.min(grid[1] - 1, Math.floor((x * width * grid[1]) / covered[1]));
  return maps.map((map) => map[row * grid[1] + column] / 255);
}

/** One small map after another, in rows, each with its number. series: bytes, side [h, w] each. */
export function drawSeries(context, [height, width], series, side, names, heat) {
  const columns = Math.ceil(Math.sqrt(names.length)), size = side[0] * side[1];
  const cell = [width / columns, height / Math.ceil(names.length / columns)];
  const layer = new OffscreenCanvas(side[1], side[0]), letters = Math.max(9, Math.round(cell[1] / 8));
  context.font = `${letters}px sans-serif`;
  names.forEach((name, at) => {
    const map = series.subarray(at * size, (at + 1) * size);
    layer.getContext("2d").putImageData(heatPicture(map, { grid: side, covered: side }, side, heat, true), 0, 0);
    const x = (at % columns) * cell[0], y = Math.floor(at / columns) * cell[1];
    context.drawImage(layer, x + 1, y + 1, cell[0] - 2, cell[1] - 2);
    context.fillStyle = "#fff";
    context.fillText(String(name), x + 4, y + letters + 3);
  });
}

/** A frame of a sampler that runs: every place in the colour of its strongest concept, over the step's preview. */
export function drawLive(canvas, frame, colors, named, preview) {
  const bytes = Uint8Array.from(atob(frame.maps), (letter) => letter.charCodeAt(0)), [h, w] = frame.grid;
  const maps = frame.names.map((_, at) => bytes.subarray(at * h * w, (at + 1) * h * w));
  const times = Math.max(1, Math.min(8, Math.floor(384 / Math.max(h, w))));
  const size = [h * times, w * times], about = { grid: frame.grid, covered: size };
  const layer = new OffscreenCanvas(size[1], size[0]);
  layer.getContext("2d").putImageData(winnersPicture(maps, about, size, colors, named), 0, 0);
  if (canvas.width !== size[1] || canvas.height !== size[0]) Object.assign(canvas, { width: size[1], height: size[0] });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, size[1], size[0]);
  if (preview) context.drawImage(preview, 0, 0, size[1], size[0]);
  context.drawImage(layer, 0, 0);
}
