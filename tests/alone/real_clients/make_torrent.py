#!/usr/bin/python3
"""Writes a torrent file that names one tracker, and prints its info hash."""

import argparse
import pathlib

import libtorrent as lt


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--content", required=True, help="file or directory to share")
    arguments.add_argument("--tracker", required=True, help="announce URL")
    arguments.add_argument("--out", required=True, help="torrent file to write")
    arguments.add_argument("--public", action="store_true", help="leave the private flag out")
    options = arguments.parse_args()

    content = pathlib.Path(options.content)
    files = lt.file_storage()
    lt.add_files(files, str(content))
    # Version 1 only: not every client of the test knows the newer hashes.
    torrent = lt.create_torrent(files, PIECE_BYTES, lt.create_torrent.v1_only)
    torrent.add_tracker(options.tracker)
    # In a private torrent a client may learn of peers from the tracker alone.
    torrent.set_priv(not options.public)
    lt.set_piece_hashes(torrent, str(content.parent))
    encoded = lt.bencode(torrent.generate())
    pathlib.Path(options.out).write_bytes(encoded)
    print(lt.torrent_info(options.out).info_hash())


PIECE_BYTES = 64 * 1024

if __name__ == "__main__":
    main()
