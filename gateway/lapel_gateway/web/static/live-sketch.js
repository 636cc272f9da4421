// Where somebody is, drawn without a map: the newest position with its accuracy, how they came there, north, and a scale.

const WIDTH = 320;
const HEIGHT = 220;
const MARGIN = 26;
const LEAST_M = 40; // half of what is shown at least: a metre more or less says nothing
const METRES_PER_DEGREE = 111_320;
const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A distance for people. */
export function metres(distance) {
  return distance >= 1000 ? `${distance / 1000} km` : `${distance} m`;
}

/** The largest of 1, 2, 5, 10, 20 … metres that is not above `most`. */
function roundBelow(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map((step) => step * power).find((step) => step <= most) ?? power;
}

/** An SVG of `position` with the earlier ones of `trail`, the newest first; `label` says what it shows. */
export function sketch(position, trail, label) {
  const narrowing = Math.cos((position.latitude * Math.PI) / 180);
  const points = [position, ...trail].map((one) => ({
    x: (one.longitude - position.longitude) * METRES_PER_DEGREE * narrowing,
    y: (one.latitude - position.latitude) * METRES_PER_DEGREE,
  }));
  const accuracy = position.accuracy_m ?? 0;
  const reach = (axis, least) => Math.max(least, accuracy, ...points.map((one) => Math.abs(one[axis])));
  const scale = Math.min((WIDTH / 2 - MARGIN) / reach("x", LEAST_M), (HEIGHT / 2 - MARGIN) / reach("y", LEAST_M));
  const at = (one) => [WIDTH / 2 + one.x * scale, HEIGHT / 2 - one.y * scale].map((value) => value.toFixed(1));

  const made = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "sketch" });
  const ring = roundBelow(reach("y", LEAST_M));
  for (const times of [0.5, 1, 1.5, 2]) {
    made.append(draw("circle", { class: "sketch-ring", cx: WIDTH / 2, cy: HEIGHT / 2, r: (ring * times * scale).toFixed(1) }));
  }
  if (position.accuracy_m !== null) {
    made.append(draw("circle", { class: "sketch-accuracy", cx: WIDTH / 2, cy: HEIGHT / 2, r: Math.max(7, accuracy * scale).toFixed(1) }));
  }
  if (points.length > 1) {
    made.append(draw("polyline", { class: "sketch-trail", points: points.map((one) => at(one).join(",")).join(" ") }));
  }
  points.slice(1).forEach((one, index) => {
    const [cx, cy] = at(one);
    const opacity = Math.max(0.3, 1 - (index + 1) / points.length).toFixed(2);
    made.append(draw("circle", { class: "sketch-before", cx, cy, r: 3.2, opacity }));
  });
  made.append(draw("circle", { class: "sketch-here", cx: WIDTH / 2, cy: HEIGHT / 2, r: 6.5 }));

  const bar = roundBelow((WIDTH * 0.4) / scale);
  const [left, right, foot] = [12, 12 + bar * scale, HEIGHT - 12];
  made.append(
    draw("path", { class: "sketch-scale", d: `M${left} ${foot - 6}V${foot}H${right.toFixed(1)}V${foot - 6}` }),
    draw("text", { class: "sketch-words", x: left + 4, y: foot - 8 }, metres(bar)),
    draw("path", { class: "sketch-north", d: `M${WIDTH - 18} 10l6 16l-6 -4l-6 4z` }),
    draw("text", { class: "sketch-words", x: WIDTH - 22.5, y: 42 }, "N"),
  );
  return made;
}
