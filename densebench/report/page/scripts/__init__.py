"""What the views of the page share: data and state, the address, tables, records, charts."""
