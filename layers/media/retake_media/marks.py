"""Marks in MP4 files that say an AI system made them: ours (XMP), and those of a render (C2PA)."""

from pathlib import Path
from xml.sax.saxutils import escape

# XMP specification, part 3, 1.1.4: the box with the metadata of an MP4.
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# C2PA specification, 11.3: the box with the manifest of an MP4.
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
# IPTC NewsCodes: an edited picture with parts that an AI model made.
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
AI_SYSTEM = "Luma Modify Video by Segmind"
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>Retake</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{system}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AIPromptInformation>{prompt}</Iptc4xmpExt:AIPromptInformation>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def append_mark(film: Path, prompt: str) -> None:
    """Append a box to an MP4 that says how it was made; the index stays where it is.

    Parameters:
        film: the MP4.
        prompt: the instruction that the model got.
    """
    text = "".join(each if each.isprintable() else " " for each in prompt)
    packet = _PACKET.format(
        source_type=_SOURCE_TYPE, system=escape(AI_SYSTEM), prompt=escape(text)
    ).encode()
    content = _XMP_BOX + packet
    with film.open("ab") as file:
        file.write((8 + len(content)).to_bytes(4) + b"uuid" + content)


def has_manifest(render: Path) -> bool:
    """Tell whether an MP4 carries a C2PA manifest, by the headers of its boxes."""
    end = render.stat().st_size
    with render.open("rb") as file:
        while file.tell() + 8 <= end:
            at = file.tell()
            header = file.read(32)
            length, first = int.from_bytes(header[:4]), 8
            if length == 1:
                length, first = int.from_bytes(header[8:16]), 16
            if header[4:8] == b"uuid" and header[first : first + 16] == _C2PA_BOX:
                return True
            if length < first:
                return False
            file.seek(at + length)
    return False
