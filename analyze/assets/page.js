(function () {
  'use strict';
  var root = document.documentElement, form = document.getElementById('filter');
  var table = document.getElementById('tensors');
  root.classList.add('script');
  /* On a phone a tap shows a picture in its full size and back (page.css). */
  Array.prototype.forEach.call(document.querySelectorAll('figure .scroll'), function (picture) {
    picture.addEventListener('click', function () { picture.classList.toggle('large'); });
  });
  if (!form || !table) return;
  var body = table.tBodies[0], rows = Array.prototype.slice.call(body.rows);
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  var count = document.getElementById('count');
  var pictures = Array.prototype.slice.call(document.querySelectorAll('details[data-tensor]'));
  var original = rows.slice(), sorted = -1, descending = false;

  function matches(row, words) {
    var text = row.dataset.text;
    return words.every(function (w) { return text.indexOf(w) >= 0; }) &&
      (!form.kind.value || row.dataset.kind === form.kind.value) &&
      (!form.access.value || row.dataset.access === form.access.value);
  }

  function filter() {
    var words = form.text.value.toLowerCase().split(/\s+/).filter(Boolean), shown = {}, n = 0;
    original.forEach(function (row) {
      var keep = matches(row, words);
      row.hidden = !keep;
      if (keep) { n++; shown[row.dataset.tensor] = true; }
    });
    pictures.forEach(function (p) { p.hidden = !shown[p.dataset.tensor]; });
    count.textContent = n + ' of ' + original.length + ' shown';
  }

  function key(row, column) {
    var cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent.toLowerCase() : value === '' ? null : Number(value);
  }

  function sort(column) {
    descending = sorted === column ? !descending : heads[column].classList.contains('n');
    sorted = column;
    rows.sort(function (a, b) {
      var x = key(a, column), y = key(b, column);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
    });
    rows.forEach(function (row) { body.appendChild(row); });
    heads.forEach(function (h, i) {
      if (i === column) h.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      else h.removeAttribute('aria-sort');
    });
  }

  /* "#filter=mlp&kind=weight&class=hot&sort=3", or the place of a picture. */
  function readPlace() {
    var place = location.hash.slice(1), target = document.getElementById(place);
    if (target) {
      for (var e = target; e; e = e.parentElement) if (e.tagName === 'DETAILS') e.open = true;
      target.scrollIntoView();
      return;
    }
    var wanted = new URLSearchParams(place);
    if (wanted.has('filter')) form.text.value = wanted.get('filter');
    if (wanted.has('kind')) form.kind.value = wanted.get('kind');
    if (wanted.has('class')) form.access.value = wanted.get('class');
    var column = Number(wanted.get('sort'));
    if (wanted.has('sort') && heads[column]) { sorted = -1; sort(column); }
    filter();
  }

  heads.forEach(function (h, i) {
    var button = document.createElement('button');
    button.type = 'button';
    button.textContent = h.textContent;
    button.addEventListener('click', function () { sort(i); });
    h.textContent = '';
    h.appendChild(button);
  });
  form.addEventListener('input', filter);
  form.addEventListener('submit', function (e) { e.preventDefault(); });
  window.addEventListener('hashchange', readPlace);
  filter();
  readPlace();
}());
