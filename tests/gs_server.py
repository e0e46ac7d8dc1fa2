"""Runs an emulator of Google Cloud Storage that keeps a carriage return at the end of an object.

The emulator by itself takes it for part of a line end, as gcsfs ends the parts of an upload with a mere line feed.
"""

from email.parser import BytesParser

from gcp_storage_emulator import __main__, server


class Exact(BytesParser):
    """Keeps the content of an upload unchanged: everything from the blank line of its part to the last line feed."""

    def parsebytes(self, text, headersonly=False):
        message = super().parsebytes(text, headersonly)
        if message.get_content_type() == "multipart/related":
            mark = f"\n--{message.get_boundary()}".encode()
            content = text[: text.rindex(mark)].split(mark, 2)[-1].split(b"\n\n", 1)[1]
            message.get_payload(1).get_payload = lambda decode=False: content
        return message


if __name__ == "__main__":
    server.BytesParser = Exact
    __main__.main()
